#include "conflict/history_store.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/big_endian.h"
#include "base/status_macros.h"
#include "conflict/slice.h"

namespace bdr::conflict {
namespace {

// A key's records: OID (4), length of the rest of the version key (4), that rest, then 'B' for the
// base, or 'C' for a change, its stamp (8 + 2) and number (4). All big-endian, so that a key's
// records stand together and its changes in the order of the fold.
constexpr size_t kOidBytes = 4;
constexpr size_t kLengthBytes = 4;
constexpr char kBaseTag = 'B';
constexpr char kChangeTag = 'C';
constexpr size_t kChangeNameBytes = 1 + 8 + 2 + 4;

class EntryWriter {
 public:
  void Int(uint64_t value, int bytes) { AppendBigEndian(&out_, value, bytes); }
  void Bytes(absl::string_view bytes) {
    Int(bytes.size(), 4);
    out_.append(bytes.data(), bytes.size());
  }
  void Time(Stamp stamp) {
    Int(static_cast<uint64_t>(stamp.time_us), 8);
    Int(stamp.node, 2);
  }
  void Row(const std::optional<FoldRow>& row, const Attnums& attnums) {
    Int(row.has_value() ? 1 : 0, 1);
    if (!row.has_value()) return;
    const size_t columns = std::min(row->size(), attnums.size());
    const auto known = [&row](size_t i) { return (*row)[i].kind != FoldValue::Kind::kUnknown; };
    size_t written = 0;
    for (size_t i = 0; i < columns; ++i) written += known(i) ? 1 : 0;
    Int(written, 2);
    for (size_t i = 0; i < columns; ++i) {
      if (!known(i)) continue;
      Int(static_cast<uint64_t>(attnums[i]), 2);
      Int(static_cast<uint64_t>((*row)[i].kind), 1);
      if ((*row)[i].kind == FoldValue::Kind::kValue) Bytes((*row)[i].data);
    }
  }
  std::string Take() { return std::move(out_); }

 private:
  std::string out_;
};

class Reader {
 public:
  explicit Reader(absl::string_view in) : in_(in) {}
  bool ok() const { return ok_; }
  bool done() const { return ok_ && in_.empty(); }

  uint64_t Int(size_t bytes) {
    if (!ok_ || in_.size() < bytes) return Fail();
    const uint64_t value = ReadBigEndian(in_.substr(0, bytes));
    in_.remove_prefix(bytes);
    return value;
  }
  std::string Bytes() {
    const uint64_t size = Int(4);
    if (!ok_ || in_.size() < size) return std::string(Fail(), '\0');
    std::string bytes(in_.substr(0, size));
    in_.remove_prefix(size);
    return bytes;
  }
  Stamp Time() {
    Stamp stamp{.time_us = static_cast<int64_t>(Int(8))};
    stamp.node = static_cast<NodeId>(Int(2));
    return stamp;
  }
  std::optional<FoldRow> Row(const Attnums& attnums) {
    if (Int(1) == 0) return std::nullopt;
    FoldRow row(attnums.size(), FoldValue{.kind = FoldValue::Kind::kUnknown});
    const uint64_t columns = Int(2);
    for (uint64_t i = 0; i < columns && ok_; ++i) {
      const int attnum = static_cast<int>(Int(2));
      FoldValue value{.kind = static_cast<FoldValue::Kind>(Int(1))};
      if (value.kind > FoldValue::Kind::kUnchanged) Fail();
      if (value.kind == FoldValue::Kind::kValue) value.data = Bytes();
      for (size_t column = 0; column < attnums.size(); ++column) {
        if (attnums[column] == attnum) row[column] = std::move(value);
      }
    }
    return row;
  }

 private:
  uint64_t Fail() {
    ok_ = false;
    in_ = {};
    return 0;
  }
  absl::string_view in_;
  bool ok_ = true;
};

// What all records of a key begin with.
std::string Prefix(absl::string_view version_key) {
  EntryWriter name;
  name.Int(version_key.size() - kOidBytes, kLengthBytes);
  return absl::StrCat(version_key.substr(0, kOidBytes), name.Take(), version_key.substr(kOidBytes));
}

std::string BaseName(absl::string_view version_key) {
  return Prefix(version_key) + std::string(1, kBaseTag);
}

std::string ChangeName(absl::string_view version_key, const FoldChange& change) {
  EntryWriter name;
  name.Int(kChangeTag, 1);
  name.Time(change.stamp);
  name.Int(change.number, 4);
  return Prefix(version_key) + name.Take();
}

void WriteOrigin(EntryWriter* out, OriginId origin, Lsn end_lsn) {
  out->Int(origin.node, 2);
  out->Int(origin.incarnation, 4);
  out->Int(end_lsn.value, 8);
}
void ReadOrigin(Reader* in, OriginId* origin, Lsn* end_lsn) {
  origin->node = static_cast<NodeId>(in->Int(2));
  origin->incarnation = static_cast<uint32_t>(in->Int(4));
  end_lsn->value = in->Int(8);
}

std::string Encode(const FoldBase& base, const Attnums& attnums) {
  EntryWriter out;
  out.Time(base.state.stamp);
  WriteOrigin(&out, base.state.origin, base.state.end_lsn);
  out.Time(base.through);
  out.Int(static_cast<uint64_t>(base.truncates_us), 8);
  out.Int(static_cast<uint64_t>(base.own_commit_us), 8);
  out.Int(base.read_at.value, 8);
  out.Int(base.assumed ? 1 : 0, 1);
  out.Row(base.state.row, attnums);
  return out.Take();
}

bool Decode(absl::string_view bytes, const Attnums& attnums, FoldBase* base) {
  Reader in(bytes);
  base->state.stamp = in.Time();
  ReadOrigin(&in, &base->state.origin, &base->state.end_lsn);
  base->through = in.Time();
  base->truncates_us = static_cast<int64_t>(in.Int(8));
  base->own_commit_us = static_cast<int64_t>(in.Int(8));
  base->read_at.value = in.Int(8);
  base->assumed = in.Int(1) != 0;
  base->state.row = in.Row(attnums);
  return in.done();
}

std::string Encode(const HistoryEntry& entry, const Attnums& attnums) {
  const FoldChange& change = entry.change;
  EntryWriter out;
  out.Int(static_cast<uint64_t>(change.kind), 1);
  WriteOrigin(&out, change.origin, change.end_lsn);
  out.Int(change.settings_version, 8);
  out.Int(entry.own ? 1 : 0, 1);
  out.Int(static_cast<uint64_t>(entry.commit_us), 8);
  out.Int(static_cast<uint64_t>(entry.stable_us), 8);
  out.Int(change.seen.size(), 2);
  for (const SeenTime& seen : change.seen) {
    out.Time({.time_us = seen.time_us, .node = seen.node});
  }
  out.Row(change.old_row, attnums);
  out.Row(change.new_row, attnums);
  return out.Take();
}

bool Decode(absl::string_view name, absl::string_view bytes, const Attnums& attnums,
            HistoryEntry* entry) {
  FoldChange& change = entry->change;
  Reader tail(name.substr(name.size() - kChangeNameBytes + 1));
  change.stamp = tail.Time();
  change.number = static_cast<uint32_t>(tail.Int(4));
  Reader in(bytes);
  const uint64_t kind = in.Int(1);
  if (kind > static_cast<uint64_t>(ChangeKind::kDelete)) return false;
  change.kind = static_cast<ChangeKind>(kind);
  ReadOrigin(&in, &change.origin, &change.end_lsn);
  change.settings_version = in.Int(8);
  entry->own = in.Int(1) != 0;
  entry->commit_us = static_cast<int64_t>(in.Int(8));
  entry->stable_us = static_cast<int64_t>(in.Int(8));
  const uint64_t seen = in.Int(2);
  for (uint64_t i = 0; i < seen && in.ok(); ++i) {
    const Stamp stamp = in.Time();
    change.seen.push_back({.node = stamp.node, .time_us = stamp.time_us});
  }
  change.old_row = in.Row(attnums);
  change.new_row = in.Row(attnums);
  return in.done();
}

// The version key of a record, or "" if it is none.
std::string VersionKeyOf(absl::string_view name) {
  if (name.size() < kOidBytes + kLengthBytes) return "";
  Reader length(name.substr(kOidBytes, kLengthBytes));
  const uint64_t size = length.Int(kLengthBytes);
  if (name.size() < kOidBytes + kLengthBytes + size) return "";
  return absl::StrCat(name.substr(0, kOidBytes), name.substr(kOidBytes + kLengthBytes, size));
}

absl::Status Damaged() {
  return absl::DataLossError("the history of a row that is folded is malformed");
}

absl::Status ReadError(const rocksdb::Status& status) {
  return absl::DataLossError(absl::StrCat("cannot read the history of a row: ", status.ToString()));
}

}  // namespace

void HistoryStore::PutEntry(rocksdb::WriteBatch* batch, absl::string_view version_key,
                            const Attnums& attnums, const HistoryEntry& entry) const {
  // A batch in memory cannot fail.
  (void)batch->Put(family_, ChangeName(version_key, entry.change), Encode(entry, attnums));
}

void HistoryStore::PutBase(rocksdb::WriteBatch* batch, absl::string_view version_key,
                           const Attnums& attnums, const FoldBase& base) const {
  (void)batch->Put(family_, BaseName(version_key), Encode(base, attnums));
}

void HistoryStore::DeleteEntry(rocksdb::WriteBatch* batch, absl::string_view version_key,
                               const FoldChange& change) const {
  (void)batch->Delete(family_, ChangeName(version_key, change));
}

void HistoryStore::DeleteBase(rocksdb::WriteBatch* batch, absl::string_view version_key) const {
  (void)batch->Delete(family_, BaseName(version_key));
}

absl::StatusOr<KeyHistory> HistoryStore::Get(absl::string_view version_key,
                                             const Attnums& attnums) const {
  KeyHistory history;
  const std::string prefix = Prefix(version_key);
  const std::unique_ptr<rocksdb::Iterator> at(db_->NewIterator(rocksdb::ReadOptions(), family_));
  for (at->Seek(prefix); at->Valid() && at->key().starts_with(prefix); at->Next()) {
    const absl::string_view name = ToView(at->key());
    const absl::string_view tail = name.substr(prefix.size());
    if (tail.size() == 1 && tail[0] == kBaseTag) {
      if (!Decode(ToView(at->value()), attnums, &history.base.emplace())) return Damaged();
    } else if (tail.size() == kChangeNameBytes && tail[0] == kChangeTag) {
      if (!Decode(name, ToView(at->value()), attnums, &history.entries.emplace_back())) {
        return Damaged();
      }
    } else {
      return Damaged();
    }
  }
  if (!at->status().ok()) return ReadError(at->status());
  return history;
}

absl::StatusOr<bool> HistoryStore::HasBase(absl::string_view version_key) const {
  rocksdb::PinnableSlice value;
  const rocksdb::Status status =
      db_->Get(rocksdb::ReadOptions(), family_, BaseName(version_key), &value);
  if (status.IsNotFound()) return false;
  if (!status.ok()) return ReadError(status);
  return true;
}

absl::StatusOr<std::vector<std::string>> HistoryStore::Keys(absl::string_view after,
                                                            uint32_t table_oid, size_t most) const {
  std::vector<std::string> keys;
  EntryWriter table;
  table.Int(table_oid, kOidBytes);
  const std::string table_prefix = table_oid == 0 ? "" : table.Take();
  const std::unique_ptr<rocksdb::Iterator> at(db_->NewIterator(rocksdb::ReadOptions(), family_));
  // Behind all records of a key: their tags are letters.
  const auto seek_behind = [&](absl::string_view key) {
    at->Seek(absl::StrCat(Prefix(key), "\xff"));
  };
  if (after.empty()) {
    at->Seek(ToSlice(table_prefix));
  } else {
    seek_behind(after);
  }
  while (at->Valid() && at->key().starts_with(table_prefix) && keys.size() < most) {
    keys.push_back(VersionKeyOf(ToView(at->key())));
    if (keys.back().empty()) return Damaged();
    seek_behind(keys.back());
  }
  if (!at->status().ok()) return ReadError(at->status());
  return keys;
}

}  // namespace bdr::conflict
