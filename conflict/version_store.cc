#include "conflict/version_store.h"

#include <rocksdb/compaction_filter.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/big_endian.h"
#include "base/test_hooks.h"
#include "conflict/slice.h"

namespace bdr::conflict {
namespace {

// Big-endian: stamp time (8), stamp node (2), origin node (2), incarnation (4), LSN (8), dead (1).
constexpr size_t kEncodedBytes = 25;
// Table OIDs are never 0, so a truncate's key cannot be a row's.
constexpr char kTruncatePrefix[4] = {0, 0, 0, 0};
// Nor 1: so begin those of disputed rows, with the row's key behind it.
constexpr char kDisputedPrefix[4] = {0, 0, 0, 1};
// A dispute must outlive own updates that were made in it and are captured after its end.
constexpr int64_t kDisputedFor = 3'600'000'000;  // µs

Stamp StampOf(const rocksdb::Slice& data) {
  return {.time_us = static_cast<int64_t>(ReadBigEndian({data.data(), 8})),
          .node = static_cast<NodeId>(ReadBigEndian({data.data() + 8, 2}))};
}

// Keeps the later stamp; of equal stamps (one transaction) the one that came last.
class LaterStampWins : public rocksdb::AssociativeMergeOperator {
 public:
  bool Merge(const rocksdb::Slice&, const rocksdb::Slice* existing, const rocksdb::Slice& value,
             std::string* merged, rocksdb::Logger*) const override {
    if (value.size() != kEncodedBytes) return false;
    if (existing != nullptr && existing->size() != kEncodedBytes) return false;
    const bool keep = existing != nullptr && StampOf(*existing) > StampOf(value);
    const rocksdb::Slice& winner = keep ? *existing : value;
    merged->assign(winner.data(), winner.size());
    return true;
  }
  const char* Name() const override { return "bdr.LaterStampWins"; }
};

class StableFilter : public rocksdb::CompactionFilter {
 public:
  explicit StableFilter(const std::atomic<int64_t>* stable_us) : stable_us_(stable_us) {}

  Decision FilterV2(int, const rocksdb::Slice& key, ValueType type, const rocksdb::Slice& value,
                    std::string*, std::string*) const override {
    // A merge operand may go as well: if it is older than the stable time it cannot decide
    // anything any more, whatever else is known of the key.
    if (type == ValueType::kBlobIndex || value.size() != kEncodedBytes) return Decision::kKeep;
    const bool disputed = key.starts_with(rocksdb::Slice(kDisputedPrefix, sizeof(kDisputedPrefix)));
    const int64_t kept_until = StampOf(value).time_us + (disputed ? kDisputedFor : 0);
    return kept_until < stable_us_->load(std::memory_order_relaxed) ? Decision::kRemove
                                                                    : Decision::kKeep;
  }
  const char* Name() const override { return "bdr.StableFilter"; }

 private:
  const std::atomic<int64_t>* const stable_us_;
};

std::string TruncateKey(uint32_t table_oid) {
  std::string key(kTruncatePrefix, sizeof(kTruncatePrefix));
  AppendBigEndian(&key, table_oid, 4);
  return key;
}

std::string DisputedKey(absl::string_view version_key) {
  std::string key(kDisputedPrefix, sizeof(kDisputedPrefix));
  key.append(version_key.data(), version_key.size());
  return key;
}

}  // namespace

std::string EncodeVersion(const Version& version) {
  std::string out;
  out.reserve(kEncodedBytes);
  AppendBigEndian(&out, static_cast<uint64_t>(version.stamp.time_us), 8);
  AppendBigEndian(&out, version.stamp.node, 2);
  AppendBigEndian(&out, version.origin.node, 2);
  AppendBigEndian(&out, version.origin.incarnation, 4);
  AppendBigEndian(&out, version.end_lsn.value, 8);
  out.push_back(version.dead ? 1 : 0);
  return out;
}

std::optional<Version> DecodeVersion(absl::string_view data) {
  if (data.size() != kEncodedBytes) return std::nullopt;
  const char* p = data.data();
  return Version{
      .stamp = {.time_us = static_cast<int64_t>(ReadBigEndian({p, 8})),
                .node = static_cast<NodeId>(ReadBigEndian({p + 8, 2}))},
      .origin = {.node = static_cast<NodeId>(ReadBigEndian({p + 10, 2})),
                 .incarnation = static_cast<uint32_t>(ReadBigEndian({p + 12, 4}))},
      .end_lsn = Lsn{ReadBigEndian({p + 16, 8})},
      .dead = p[24] != 0,
  };
}

std::string VersionKey(uint32_t table_oid, absl::string_view canonical_key) {
  std::string key;
  key.reserve(4 + canonical_key.size());
  AppendBigEndian(&key, table_oid, 4);
  key.append(canonical_key.data(), canonical_key.size());
  return key;
}

std::string MadeUpKey(uint32_t table_oid, int64_t commit_us) {
  return VersionKey(table_oid, absl::StrCat("made up ", commit_us));
}

std::string RaisedKey(uint32_t table_oid, int64_t commit_us) {
  return VersionKey(table_oid, absl::StrCat("raised ", commit_us));
}

std::shared_ptr<rocksdb::MergeOperator> VersionStore::MergeOperator() {
  return std::make_shared<LaterStampWins>();
}

void VersionStore::Put(rocksdb::WriteBatch* batch, absl::string_view version_key,
                       const Version& version) const {
  if (version.dead && BDR_RULE_BROKEN("tombstones")) return;
  // A batch in memory cannot fail.
  (void)batch->Merge(family_, ToSlice(version_key), EncodeVersion(version));
}

void VersionStore::PutTruncate(rocksdb::WriteBatch* batch, uint32_t table_oid,
                               const Version& version) const {
  Put(batch, TruncateKey(table_oid), version);
}

absl::StatusOr<std::vector<std::optional<Version>>> VersionStore::Get(
    absl::Span<const std::string> keys) const {
  std::vector<std::optional<Version>> versions(keys.size());
  if (keys.empty()) return versions;
  std::vector<rocksdb::Slice> slices;
  slices.reserve(keys.size());
  for (const std::string& key : keys) slices.emplace_back(key);
  std::vector<rocksdb::PinnableSlice> values(keys.size());
  std::vector<rocksdb::Status> statuses(keys.size());
  db_->MultiGet(rocksdb::ReadOptions(), family_, keys.size(), slices.data(), values.data(),
                statuses.data());
  for (size_t i = 0; i < keys.size(); ++i) {
    if (statuses[i].IsNotFound()) continue;
    if (!statuses[i].ok()) {
      return absl::DataLossError(
          absl::StrCat("cannot read row versions: ", statuses[i].ToString()));
    }
    versions[i] = DecodeVersion(absl::string_view(values[i].data(), values[i].size()));
    if (!versions[i].has_value()) {
      return absl::DataLossError("cannot read row versions: a value has the wrong length");
    }
  }
  return versions;
}

void VersionStore::PutDisputed(rocksdb::WriteBatch* batch, absl::string_view version_key,
                               const Version& version) const {
  Put(batch, DisputedKey(version_key), version);
}

absl::StatusOr<std::vector<std::optional<Version>>> VersionStore::GetDisputed(
    absl::Span<const std::string> keys) const {
  std::vector<std::string> names;
  names.reserve(keys.size());
  for (const std::string& key : keys) names.push_back(DisputedKey(key));
  return Get(names);
}

absl::StatusOr<std::optional<Version>> VersionStore::GetTruncate(uint32_t table_oid) const {
  const std::string key = TruncateKey(table_oid);
  absl::StatusOr<std::vector<std::optional<Version>>> found = Get(absl::MakeConstSpan(&key, 1));
  if (!found.ok()) return found.status();
  return found->front();
}

const rocksdb::CompactionFilter* NewStableFilter(const std::atomic<int64_t>* stable_us) {
  return new StableFilter(stable_us);
}

}  // namespace bdr::conflict
