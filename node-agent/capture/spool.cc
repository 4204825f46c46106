#include "node-agent/capture/spool.h"

#include <cstring>
#include <utility>

#include "base/status_macros.h"

namespace bdr::agent {
namespace {

// Large enough that RocksDB's cost per key does not count, small enough for many transactions.
constexpr size_t kChunkBytes = 256 << 10;

// What a transaction of fewer chunks leaves behind goes as others are written.
constexpr uint32_t kChunksToGiveBack = 128;

std::string Key(uint32_t xid, uint32_t chunk) {
  std::string key;
  for (const uint32_t number : {xid, chunk}) {
    for (int shift = 24; shift >= 0; shift -= 8) key.push_back(static_cast<char>(number >> shift));
  }
  return key;
}

void AppendU32(std::string* out, uint32_t value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

uint32_t ReadU32(const char* data) {
  uint32_t value;
  std::memcpy(&value, data, sizeof(value));
  return value;
}

// A record in a chunk: kind (1), subxid (4), length (4), message. Host byte order: the spool never
// leaves this process's machine.
constexpr size_t kRecordHeader = 9;

}  // namespace

absl::Status Spool::Clear() {
  transactions_.clear();
  rocksdb::WriteBatch batch;
  (void)batch.DeleteRange(database_->spool(), Key(0, 0), Key(UINT32_MAX, UINT32_MAX));
  RETURN_IF_ERROR(database_->Write(&batch, /*sync=*/false));
  if (database_->SpoolBytes() < kChunksToGiveBack * kChunkBytes) return absl::OkStatus();
  return database_->GiveBackSpool(Key(0, 0), Key(UINT32_MAX, UINT32_MAX));
}

bool Spool::IsRemote(uint32_t xid) const {
  const auto found = transactions_.find(xid);
  return found != transactions_.end() && found->second.remote;
}

absl::Status Spool::Add(uint32_t xid, uint32_t subxid, Kind kind, absl::string_view message) {
  Transaction& transaction = transactions_[xid];
  if (transaction.remote) return absl::OkStatus();
  transaction.buffer.push_back(static_cast<char>(kind));
  AppendU32(&transaction.buffer, subxid);
  AppendU32(&transaction.buffer, static_cast<uint32_t>(message.size()));
  transaction.buffer.append(message.data(), message.size());
  if (transaction.buffer.size() < kChunkBytes) return absl::OkStatus();
  return WriteBuffer(xid, transaction);
}

absl::Status Spool::WriteBuffer(uint32_t xid, Transaction& transaction) {
  if (transaction.buffer.empty()) return absl::OkStatus();
  rocksdb::WriteBatch batch;
  (void)batch.Put(database_->spool(), Key(xid, transaction.chunks), transaction.buffer);
  RETURN_IF_ERROR(database_->Write(&batch, /*sync=*/false));
  ++transaction.chunks;
  transaction.buffer.clear();
  transaction.buffer.shrink_to_fit();
  return absl::OkStatus();
}

absl::Status Spool::Abort(uint32_t xid, uint32_t subxid) {
  if (xid == subxid) return Forget(xid);
  transactions_[xid].aborted.insert(subxid);
  return absl::OkStatus();
}

absl::Status Spool::ForEach(uint32_t xid,
                            const std::function<absl::Status(Kind, absl::string_view)>& visit) {
  const auto found = transactions_.find(xid);
  if (found == transactions_.end()) return absl::OkStatus();
  RETURN_IF_ERROR(WriteBuffer(xid, found->second));
  for (uint32_t chunk = 0; chunk < found->second.chunks; ++chunk) {
    std::string bytes;
    RETURN_IF_ERROR(FromRocksDb(
        database_->db()->Get(rocksdb::ReadOptions(), database_->spool(), Key(xid, chunk), &bytes),
        "cannot read back a large transaction"));
    absl::string_view left = bytes;
    while (left.size() >= kRecordHeader) {
      const Kind kind = static_cast<Kind>(left[0]);
      const uint32_t subxid = ReadU32(left.data() + 1);
      const uint32_t length = ReadU32(left.data() + 5);
      left.remove_prefix(kRecordHeader);
      if (length > left.size()) return absl::DataLossError("a spooled transaction is damaged");
      // Relations stay: later changes of other subtransactions lean on them.
      if (kind != Kind::kChange || !found->second.aborted.contains(subxid)) {
        RETURN_IF_ERROR(visit(kind, left.substr(0, length)));
      }
      left.remove_prefix(length);
    }
  }
  return absl::OkStatus();
}

absl::Status Spool::Forget(uint32_t xid) {
  const auto found = transactions_.find(xid);
  if (found == transactions_.end()) return absl::OkStatus();
  const uint32_t chunks = found->second.chunks;
  transactions_.erase(found);
  if (chunks == 0) return absl::OkStatus();
  rocksdb::WriteBatch batch;
  (void)batch.DeleteRange(database_->spool(), Key(xid, 0), Key(xid, UINT32_MAX));
  RETURN_IF_ERROR(database_->Write(&batch, /*sync=*/false));
  if (chunks < kChunksToGiveBack) return absl::OkStatus();
  return database_->GiveBackSpool(Key(xid, 0), Key(xid, UINT32_MAX));
}

}  // namespace bdr::agent
