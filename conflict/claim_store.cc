#include "conflict/claim_store.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/big_endian.h"
#include "base/status_macros.h"
#include "conflict/slice.h"

namespace bdr::conflict {
namespace {

// Table OIDs, with which rows' names begin, are never 0.
constexpr char kPrefix[4] = {0, 0, 0, 0};
// Of a TimedClaimKey().
constexpr size_t kTimeAt = sizeof(kPrefix) + 8 + kBucketBytes;
constexpr size_t kTimeBytes = 8;

class UnionOfClaims : public rocksdb::AssociativeMergeOperator {
 public:
  bool Merge(const rocksdb::Slice&, const rocksdb::Slice* existing, const rocksdb::Slice& value,
             std::string* merged, rocksdb::Logger*) const override {
    const std::optional<Claimants> added = DecodeClaimants(ToView(value));
    if (!added.has_value()) return false;
    if (existing == nullptr) {
      merged->assign(value.data(), value.size());
      return true;
    }
    const std::optional<Claimants> known = DecodeClaimants(ToView(*existing));
    if (!known.has_value()) return false;
    *merged = Encode(conflict::Merge(*known, *added));
    return true;
  }
  const char* Name() const override { return "bdr.UnionOfClaims"; }
};

class StableClaimFilter : public rocksdb::CompactionFilter {
 public:
  explicit StableClaimFilter(const std::atomic<int64_t>* stable_us) : stable_us_(stable_us) {}

  Decision FilterV2(int, const rocksdb::Slice&, ValueType type, const rocksdb::Slice& value,
                    std::string*, std::string*) const override {
    // As with versions, an operand may go by itself: what is older than the stable time decides
    // nothing any more, whatever else is known of the value.
    if (type == ValueType::kBlobIndex) return Decision::kKeep;
    const std::optional<Claimants> claimants = DecodeClaimants(ToView(value));
    if (!claimants.has_value()) return Decision::kKeep;
    if (!claimants->first.has_value()) return Decision::kRemove;
    return claimants->first->stamp.time_us < stable_us_->load(std::memory_order_relaxed)
               ? Decision::kRemove
               : Decision::kKeep;
  }
  const char* Name() const override { return "bdr.StableClaimFilter"; }

 private:
  const std::atomic<int64_t>* const stable_us_;
};

absl::Status Damaged(absl::string_view why) {
  return absl::DataLossError(absl::StrCat("cannot read claims of unique values: ", why));
}

}  // namespace

std::string ClaimKey(uint64_t constraint, absl::string_view value) {
  std::string key(kPrefix, sizeof(kPrefix));
  key.reserve(sizeof(kPrefix) + 8 + value.size());
  AppendBigEndian(&key, constraint, 8);
  key.append(value.data(), value.size());
  return key;
}

std::string TimedClaimKey(uint64_t constraint, absl::string_view value, int64_t time_us) {
  std::string key = ClaimKey(constraint, value.substr(0, kBucketBytes));
  // Stamps are not negative.
  AppendBigEndian(&key, static_cast<uint64_t>(std::max<int64_t>(time_us, 0)), 8);
  const absl::string_view rest = value.substr(kBucketBytes);
  key.append(rest.data(), rest.size());
  return key;
}

std::shared_ptr<rocksdb::MergeOperator> ClaimStore::MergeOperator() {
  return std::make_shared<UnionOfClaims>();
}

void ClaimStore::Put(rocksdb::WriteBatch* batch, absl::string_view claim_key,
                     absl::string_view version_key, Stamp stamp) const {
  // A batch in memory cannot fail.
  (void)batch->Merge(family_, ToSlice(claim_key), Encode(ClaimOf(version_key, stamp)));
}

absl::StatusOr<std::vector<Claimants>> ClaimStore::Get(
    absl::Span<const std::string> claim_keys) const {
  std::vector<Claimants> claimants(claim_keys.size());
  if (claim_keys.empty()) return claimants;
  std::vector<rocksdb::Slice> slices;
  slices.reserve(claim_keys.size());
  for (const std::string& key : claim_keys) slices.emplace_back(key);
  std::vector<rocksdb::PinnableSlice> values(claim_keys.size());
  std::vector<rocksdb::Status> statuses(claim_keys.size());
  db_->MultiGet(rocksdb::ReadOptions(), family_, claim_keys.size(), slices.data(), values.data(),
                statuses.data());
  for (size_t i = 0; i < claim_keys.size(); ++i) {
    if (statuses[i].IsNotFound()) continue;
    if (!statuses[i].ok()) return Damaged(statuses[i].ToString());
    std::optional<Claimants> decoded = DecodeClaimants(ToView(values[i]));
    if (!decoded.has_value()) return Damaged("a value has the wrong form");
    claimants[i] = *std::move(decoded);
  }
  return claimants;
}

absl::Status ClaimStore::Since(
    uint64_t constraint, absl::string_view bucket, int64_t since_us,
    absl::FunctionRef<absl::Status(absl::string_view value, Claimants claimants)> take) const {
  const std::string from = TimedClaimKey(constraint, bucket, since_us);
  const rocksdb::Slice prefix(from.data(), kTimeAt);
  const std::unique_ptr<rocksdb::Iterator> at(db_->NewIterator(rocksdb::ReadOptions(), family_));
  std::string value;
  for (at->Seek(from); at->Valid() && at->key().starts_with(prefix); at->Next()) {
    std::optional<Claimants> decoded = DecodeClaimants(ToView(at->value()));
    const absl::string_view key = ToView(at->key());
    if (!decoded.has_value() || key.size() < kTimeAt + kTimeBytes) {
      return Damaged("a value has the wrong form");
    }
    value.assign(bucket.data(), bucket.size());
    absl::StrAppend(&value, key.substr(kTimeAt + kTimeBytes));
    RETURN_IF_ERROR(take(value, *std::move(decoded)));
  }
  if (!at->status().ok()) return Damaged(at->status().ToString());
  return absl::OkStatus();
}

const rocksdb::CompactionFilter* NewStableClaimFilter(const std::atomic<int64_t>* stable_us) {
  return new StableClaimFilter(stable_us);
}

}  // namespace bdr::conflict
