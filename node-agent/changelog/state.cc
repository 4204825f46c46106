#include "node-agent/changelog/state.h"

#include "absl/strings/str_cat.h"
#include "base/big_endian.h"
#include "conflict/slice.h"

namespace bdr::agent {
absl::StatusOr<std::optional<std::string>> State::Get(absl::string_view name) const {
  std::string value;
  const rocksdb::Status status = database_->db()->Get(rocksdb::ReadOptions(), database_->state(),
                                                      conflict::ToSlice(name), &value);
  if (status.IsNotFound()) return std::optional<std::string>();
  if (!status.ok()) return FromRocksDb(status, absl::StrCat("cannot read state \"", name, "\""));
  return std::optional<std::string>(std::move(value));
}

absl::Status State::Put(absl::string_view name, absl::string_view value, bool sync) {
  rocksdb::WriteBatch batch;
  Put(&batch, name, value);
  return database_->Write(&batch, sync);
}

void State::Put(rocksdb::WriteBatch* batch, absl::string_view name, absl::string_view value) const {
  (void)batch->Put(database_->state(), conflict::ToSlice(name),
                   conflict::ToSlice(value));  // memory: cannot fail
}

std::string EncodeU64(uint64_t value) {
  std::string out;
  AppendBigEndian(&out, value, 8);
  return out;
}

absl::StatusOr<uint64_t> DecodeU64(absl::string_view bytes) {
  if (bytes.size() != 8) return absl::DataLossError("a number in the state has the wrong length");
  return ReadBigEndian(bytes);
}

std::string EncodeOrigin(OriginId origin) {
  std::string out;
  AppendBigEndian(&out, origin.node, 2);
  AppendBigEndian(&out, origin.incarnation, 4);
  return out;
}

absl::StatusOr<OriginId> DecodeOrigin(absl::string_view bytes) {
  if (bytes.size() != 6) return absl::DataLossError("an origin in the state has the wrong length");
  return OriginId{.node = static_cast<NodeId>(ReadBigEndian(bytes.substr(0, 2))),
                  .incarnation = static_cast<uint32_t>(ReadBigEndian(bytes.substr(2, 4)))};
}

std::string EncodeCursor(const Cursor& cursor) {
  std::string out;
  AppendBigEndian(&out, cursor.end_lsn.value, 8);
  AppendBigEndian(&out, cursor.part, 4);
  AppendBigEndian(&out, cursor.chain, 8);
  return out;
}

absl::StatusOr<Cursor> DecodeCursor(absl::string_view bytes) {
  if (bytes.size() != 20) return absl::DataLossError("a cursor in the state has the wrong length");
  return Cursor{.end_lsn = Lsn{ReadBigEndian(bytes.substr(0, 8))},
                .part = static_cast<uint32_t>(ReadBigEndian(bytes.substr(8, 4))),
                .chain = ReadBigEndian(bytes.substr(12, 8))};
}

}  // namespace bdr::agent
