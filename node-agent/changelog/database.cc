#include "node-agent/changelog/database.h"

#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_buffer_manager.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "conflict/claim_store.h"
#include "conflict/version_store.h"
#include "node-agent/changelog/reserving_file_system.h"

namespace bdr::agent {
namespace {

// RocksDB may end the process once a write has found the disk full. So writes are refused while
// there is still room for what makes room (trimming, and the sync of what was accepted), and its
// table files, which it writes by itself, leave a half of that reserve. Below the floor, which only
// others can reach, nothing is tried any more.
constexpr uint64_t kDiskFloor = 256 << 10;

absl::Status CheckRoom(const std::string& directory, const rocksdb::WriteBatch& batch,
                       bool from_reserve) {
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(directory, error);
  if (error) return absl::OkStatus();  // writing tells what is wrong with the disk
  const uint64_t keep = from_reserve ? kDiskFloor : DiskReserve(space);
  if (space.available >= keep + 2 * batch.GetDataSize()) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "cannot write to the change log: the disk of \"", directory, "\" has only ",
      space.available >> 10, " KiB left; make room on it, and the agent goes on by itself"));
}

rocksdb::ColumnFamilyOptions FamilyOptions(const std::shared_ptr<rocksdb::Cache>& cache,
                                           uint64_t write_buffer_bytes) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.cache_index_and_filter_blocks = true;
  rocksdb::ColumnFamilyOptions options;
  options.write_buffer_size = write_buffer_bytes;
  options.max_write_buffer_number = 3;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  // Blocks are compressed already; versions and state are small.
  options.compression = rocksdb::kNoCompression;
  return options;
}

}  // namespace

absl::Status FromRocksDb(const rocksdb::Status& status, absl::string_view what) {
  if (status.ok()) return absl::OkStatus();
  const std::string message = absl::StrCat(what, ": ", status.ToString());
  if (status.IsNoSpace()) return absl::ResourceExhaustedError(message);
  if (status.IsNotFound()) return absl::NotFoundError(message);
  if (status.IsCorruption()) return absl::DataLossError(message);
  // Incomplete: RocksDB is recovering by itself from an error such as a disk that was full.
  if (status.IsIOError() || status.IsBusy() || status.IsTryAgain() || status.IsIncomplete()) {
    return absl::UnavailableError(message);
  }
  return absl::InternalError(message);
}

// The folder and the disk's reserve come first, then what holds for the whole database, then each
// family, and RocksDB last, which takes all of it at once. The filters of the families point into
// `database`, so it is made before them and outlives them. The handles come in the order in which
// `families` names them.
absl::StatusOr<std::unique_ptr<Database>> Database::Open(const DatabaseOptions& options) {
  std::error_code error;
  std::filesystem::create_directories(options.directory, error);
  if (error) {
    return absl::FailedPreconditionError(absl::StrCat("cannot create the folder \"",
                                                      options.directory, "\": ", error.message(),
                                                      "; check data_dir in the configuration"));
  }

  auto database = std::unique_ptr<Database>(new Database);
  database->directory_ = options.directory;
  const std::shared_ptr<rocksdb::Cache> cache = rocksdb::NewLRUCache(options.memory_bytes / 4);
  rocksdb::DBOptions db_options;
  const std::filesystem::space_info space = std::filesystem::space(options.directory, error);
  database->env_ = rocksdb::NewCompositeEnv(
      NewReservingFileSystem(rocksdb::FileSystem::Default(), error ? 0 : DiskReserve(space) / 2));
  db_options.env = database->env_.get();
  db_options.create_if_missing = true;
  db_options.create_missing_column_families = true;
  db_options.max_open_files = 256;
  db_options.max_background_jobs = 2;
  db_options.keep_log_file_num = 4;
  db_options.max_log_file_size = 4 << 20;
  db_options.stats_dump_period_sec = 0;  // nobody reads them there
  db_options.stats_persist_period_sec = 0;
  // After a machine crash the write-ahead log is cut at its first damaged record: what remains is
  // everything up to some moment, which is what the agent's recovery builds on.
  db_options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  // Families that are seldom written keep old write-ahead logs: no more of them than is in memory.
  db_options.max_total_wal_size = options.memory_bytes;
  db_options.write_buffer_manager =
      std::make_shared<rocksdb::WriteBufferManager>(options.memory_bytes * 3 / 4);

  const uint64_t buffer = options.memory_bytes / 8;
  rocksdb::ColumnFamilyOptions versions = FamilyOptions(cache, buffer);
  versions.merge_operator = conflict::VersionStore::MergeOperator();
  // A row that is written all the time must not pile up operands for its readers.
  versions.max_successive_merges = 8;
  database->stable_filter_.reset(conflict::NewStableFilter(&database->stable_us_));
  versions.compaction_filter = database->stable_filter_.get();
  rocksdb::BlockBasedTableOptions versions_table;
  versions_table.block_cache = cache;
  versions_table.cache_index_and_filter_blocks = true;
  versions_table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  versions.table_factory.reset(rocksdb::NewBlockBasedTableFactory(versions_table));

  rocksdb::ColumnFamilyOptions claims = versions;
  claims.merge_operator = conflict::ClaimStore::MergeOperator();
  database->stable_claim_filter_.reset(conflict::NewStableClaimFilter(&database->stable_us_));
  claims.compaction_filter = database->stable_claim_filter_.get();

  const std::vector<rocksdb::ColumnFamilyDescriptor> families = {
      {rocksdb::kDefaultColumnFamilyName, FamilyOptions(cache, 1 << 20)},
      {"log", FamilyOptions(cache, buffer)},
      {"spool", FamilyOptions(cache, buffer)},
      {"versions", versions},
      {"state", FamilyOptions(cache, 1 << 20)},
      {"claims", claims},
      {"history", FamilyOptions(cache, buffer)},
  };
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status =
      rocksdb::DB::Open(db_options, options.directory, families, &handles, &db);
  RETURN_IF_ERROR(FromRocksDb(
      status, absl::StrCat("cannot open the change log in \"", options.directory, "\"")));
  database->db_.reset(db);
  database->default_ = handles[0];
  database->log_ = handles[1];
  database->spool_ = handles[2];
  database->versions_ = handles[3];
  database->state_ = handles[4];
  database->claims_ = handles[5];
  database->history_ = handles[6];
  return database;
}

Database::~Database() {
  if (db_ == nullptr) return;
  for (rocksdb::ColumnFamilyHandle* handle :
       {default_, log_, spool_, versions_, claims_, history_, state_}) {
    db_->DestroyColumnFamilyHandle(handle);
  }
}

absl::Status Database::Write(rocksdb::WriteBatch* batch, bool sync) {
  RETURN_IF_ERROR(CheckRoom(directory_, *batch, /*from_reserve=*/false));
  return WriteFromReserve(batch, sync);
}

absl::Status Database::WriteFromReserve(rocksdb::WriteBatch* batch, bool sync) {
  RETURN_IF_ERROR(CheckRoom(directory_, *batch, /*from_reserve=*/true));
  rocksdb::WriteOptions options;
  options.sync = sync;
  const uint64_t before = unsynced_;
  RETURN_IF_ERROR(FromRocksDb(db_->Write(options, batch), "cannot write to the change log"));
  // Counted once it has returned: a synced write beside it may have come before or after it.
  if (!sync) {
    ++unsynced_;
    return absl::OkStatus();
  }
  uint64_t known = synced_;
  while (known < before && !synced_.compare_exchange_weak(known, before)) {
  }
  return absl::OkStatus();
}

// Not SyncWAL(): after a write that failed it ends the process, where a write reports the error.
// A synced write syncs everything before it; an empty one would not reach the file.
absl::Status Database::Sync() {
  if (synced_ >= unsynced_) return absl::OkStatus();
  rocksdb::WriteBatch batch;
  (void)batch.PutLogData("sync");
  return WriteFromReserve(&batch, /*sync=*/true);
}

absl::Status Database::CompactLog() { return Compact(log_->GetName()); }

absl::Status Database::Reclaim() {
  for (rocksdb::ColumnFamilyHandle* handle : Forgetting()) {
    RETURN_IF_ERROR(Compact(handle->GetName()));
  }
  return absl::OkStatus();
}

uint64_t Database::BytesOf(rocksdb::ColumnFamilyHandle* handle) const {
  uint64_t total = 0;
  for (const char* property : {"rocksdb.total-sst-files-size", "rocksdb.cur-size-all-mem-tables"}) {
    uint64_t bytes = 0;
    if (db_->GetIntProperty(handle, property, &bytes)) total += bytes;
  }
  return total;
}

uint64_t Database::LogBytes() const { return BytesOf(log_); }

uint64_t Database::SpoolBytes() const { return BytesOf(spool_); }

absl::Status Database::GiveBackSpool(const std::string& from, const std::string& to) {
  const rocksdb::Slice begin(from);
  const rocksdb::Slice end(to);
  RETURN_IF_ERROR(FromRocksDb(rocksdb::DeleteFilesInRange(db_.get(), spool_, &begin, &end),
                              "cannot give back the room of a large transaction"));
  // What is left: files of the first level, and those at either end.
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = false;
  options.canceled = &stop_compacting_;
  const rocksdb::Status compacted = db_->CompactRange(options, spool_, &begin, &end);
  if (compacted.IsManualCompactionPaused() || compacted.IsIncomplete()) return absl::OkStatus();
  return FromRocksDb(compacted, "cannot give back the room of a large transaction");
}

std::vector<Database::FamilySize> Database::FamilySizes() const {
  std::vector<FamilySize> sizes;
  for (rocksdb::ColumnFamilyHandle* handle : Forgetting()) {
    FamilySize size;
    size.name = handle->GetName();
    size.by_filter = handle != log_;
    (void)db_->GetIntProperty(handle, "rocksdb.estimate-num-keys", &size.keys);
    size.bytes = BytesOf(handle);
    sizes.push_back(std::move(size));
  }
  return sizes;
}

uint64_t Database::EstimatedVersions() const {
  uint64_t keys = 0;
  (void)db_->GetIntProperty(versions_, "rocksdb.estimate-num-keys", &keys);
  return keys;
}

absl::Status Database::Compact(absl::string_view family) {
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = false;  // writes and other compactions go on beside it
  options.canceled = &stop_compacting_;
  for (rocksdb::ColumnFamilyHandle* handle : Forgetting()) {
    if (handle->GetName() != family) continue;
    const rocksdb::Status status = db_->CompactRange(options, handle, nullptr, nullptr);
    if (status.IsIncomplete()) return absl::CancelledError("the agent is stopping");
    return FromRocksDb(status, absl::StrCat("cannot compact \"", family, "\""));
  }
  return absl::NotFoundError(absl::StrCat("there is no family \"", family, "\" to compact"));
}

uint64_t Database::SizeOnDisk() const {
  uint64_t total = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator file(directory_, error), end; !error && file != end;
       file.increment(error)) {
    // It may be gone by now.
    std::error_code gone;
    const uintmax_t bytes = file->file_size(gone);
    if (!gone) total += bytes;
  }
  return total;
}

}  // namespace bdr::agent
