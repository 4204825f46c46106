// The agent's RocksDB: one database, one write-ahead log, a column family for each kind of data.
//
// One write-ahead log for all families is what the rest leans on: a crash of the machine loses a
// suffix of what was written, never something from the middle. So whatever was written before a
// synced write survives with it.
#pragma once

#include <rocksdb/compaction_filter.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/write_batch.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace bdr::agent {

struct DatabaseOptions {
  std::string directory;             // created if missing
  uint64_t memory_bytes = 64 << 20;  // for write buffers and block cache together
};

// Thread-safe, as RocksDB is.
class Database {
 public:
  // kUnavailable if another process has it open; kDataLoss if it is damaged.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const DatabaseOptions& options);
  ~Database();

  // With `sync` the call returns once everything written so far would survive a machine crash.
  // kResourceExhausted on a disk that is full but for a small reserve: nothing of the batch was
  // written.
  absl::Status Write(rocksdb::WriteBatch* batch, bool sync);
  // A write as Write(), for what is small and makes room: may use the reserve. kResourceExhausted
  // only if others have filled the disk to its end.
  absl::Status WriteFromReserve(rocksdb::WriteBatch* batch, bool sync);

  // Everything written before the call survives a machine crash once it returns. Costs nothing
  // where nothing was written since the last synced write.
  absl::Status Sync();

  // Row versions and claims older than this may go when RocksDB compacts (µs since 1970).
  void SetStableTime(int64_t stable_us) { stable_us_ = stable_us; }
  int64_t stable_time() const { return stable_us_; }

  // The folder's size, with RocksDB's write-ahead log. Asks the file system; 0 if it does not tell.
  uint64_t SizeOnDisk() const;
  // The size of the family `log` alone, without the spool: what trimming gives back.
  uint64_t LogBytes() const;
  // The size of the spool alone.
  uint64_t SpoolBytes() const;
  // Gives back the room of what was deleted from the spool between the two keys: RocksDB itself
  // does so only as more is written. Files that hold nothing else go at once.
  absl::Status GiveBackSpool(const std::string& from, const std::string& to);
  // Gives back the room of blocks that were trimmed. Takes a while.
  absl::Status CompactLog();
  // The same for versions and claims, too.
  absl::Status Reclaim();

  // Families that hold what becomes stable.
  struct FamilySize {
    std::string name;
    uint64_t keys = 0;       // by RocksDB's estimate
    uint64_t bytes = 0;      // on disk and in memory
    bool by_filter = false;  // forgotten by the stable time, entry by entry
  };
  std::vector<FamilySize> FamilySizes() const;
  uint64_t EstimatedVersions() const;
  // Drops what may go from one of them. Takes a while; kCancelled after StopCompacting().
  absl::Status Compact(absl::string_view family);
  // Cuts Compact() short, now and for good.
  void StopCompacting() { stop_compacting_ = true; }

  rocksdb::DB* db() { return db_.get(); }
  rocksdb::ColumnFamilyHandle* log() { return log_; }            // change_log.h
  rocksdb::ColumnFamilyHandle* spool() { return spool_; }        // capture/spool.h
  rocksdb::ColumnFamilyHandle* versions() { return versions_; }  // conflict/version_store.h
  rocksdb::ColumnFamilyHandle* claims() { return claims_; }      // conflict/claim_store.h
  rocksdb::ColumnFamilyHandle* history() { return history_; }    // conflict/history_store.h
  rocksdb::ColumnFamilyHandle* state() { return state_; }        // state.h

 private:
  Database() = default;
  std::vector<rocksdb::ColumnFamilyHandle*> Forgetting() const {
    return {versions_, claims_, log_};
  }

  // On disk and in memory.
  uint64_t BytesOf(rocksdb::ColumnFamilyHandle* handle) const;

  std::string directory_;
  std::atomic<uint64_t> unsynced_{0};  // writes that have returned, and did not wait for the disk
  std::atomic<uint64_t> synced_{0};    // as many of them survive
  std::atomic<int64_t> stable_us_{0};
  std::atomic<bool> stop_compacting_{false};
  std::unique_ptr<const rocksdb::CompactionFilter> stable_filter_;        // outlives db_
  std::unique_ptr<const rocksdb::CompactionFilter> stable_claim_filter_;  // likewise
  std::unique_ptr<rocksdb::Env> env_;                                     // likewise
  std::unique_ptr<rocksdb::DB> db_;
  rocksdb::ColumnFamilyHandle* default_ = nullptr;
  rocksdb::ColumnFamilyHandle* log_ = nullptr;
  rocksdb::ColumnFamilyHandle* spool_ = nullptr;
  rocksdb::ColumnFamilyHandle* versions_ = nullptr;
  rocksdb::ColumnFamilyHandle* claims_ = nullptr;
  rocksdb::ColumnFamilyHandle* history_ = nullptr;
  rocksdb::ColumnFamilyHandle* state_ = nullptr;
};

// What a RocksDB status means to us, with `what` in front.
absl::Status FromRocksDb(const rocksdb::Status& status, absl::string_view what);

}  // namespace bdr::agent
