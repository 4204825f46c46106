// Layout: "k" + key holds the revision (8 bytes, big-endian) and the value; "revision" holds the
// newest revision; "l" + lease (8 bytes) how long it lasts, in ms; "a" + key the lease that the key
// goes with. What belongs together is written in one batch, synced.
//
// When a lease ends is in memory alone, so that renewing costs no write: after a start each of them
// lasts its whole time again.
#include "server/store/rocksdb_store.h"

#include <rocksdb/db.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/internal/endian.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/thread_name.h"
#include "server/store/watch_queue.h"

namespace bdr::server {
namespace {

constexpr char kRevisionKey[] = "revision";
constexpr char kDataPrefix[] = "k";
constexpr char kLeasePrefix[] = "l";
constexpr char kAttachedPrefix[] = "a";

absl::Status ToAbsl(const rocksdb::Status& status, absl::string_view what,
                    absl::string_view folder) {
  if (status.ok()) return absl::OkStatus();
  const std::string message =
      absl::StrCat("cannot ", what, " the store in \"", folder, "\": ", status.ToString());
  if (status.IsCorruption()) {
    return absl::InternalError(absl::StrCat(message, "; restore the folder from a backup"));
  }
  return absl::UnavailableError(
      absl::StrCat(message, "; check the disk, and that no other bdr-server uses the folder"));
}

std::string EncodeNumber(uint64_t number) {
  std::string bytes(8, '\0');
  absl::big_endian::Store64(bytes.data(), number);
  return bytes;
}

// kInternal for a value that this file did not write.
absl::StatusOr<uint64_t> DecodeNumber(absl::string_view bytes) {
  if (bytes.size() < 8) {
    return absl::InternalError("the store holds an entry that is too short: it is damaged");
  }
  return absl::big_endian::Load64(bytes.data());
}

class RocksDbStore;

class Watcher : public StoreWatch {
 public:
  Watcher(RocksDbStore* store, absl::string_view prefix) : store_(store), prefix_(prefix) {}
  ~Watcher() override;

  absl::StatusOr<std::optional<StoreEntry>> Next(absl::Duration timeout) override {
    return queue_.Next(timeout);
  }

  void Offer(const StoreEntry& entry) {
    if (absl::StartsWith(entry.key, prefix_)) queue_.Offer(entry);
  }

 private:
  RocksDbStore* const store_;
  const std::string prefix_;
  WatchQueue queue_;
};

class RocksDbStore : public Store {
 public:
  RocksDbStore(std::string folder, std::unique_ptr<rocksdb::DB> db, uint64_t revision)
      : folder_(std::move(folder)), db_(std::move(db)), revision_(revision) {}

  ~RocksDbStore() override {
    {
      MutexLock lock(&write_mu_);
      stop_ = true;
      leases_changed_.NotifyAll();
    }
    if (ends_leases_.joinable()) ends_leases_.join();
  }

  // Reads the leases that there are, and starts the thread.
  absl::Status Begin() {
    {
      MutexLock lock(&write_mu_);
      RETURN_IF_ERROR(ForEach(
          kLeasePrefix, [this](absl::string_view id, absl::string_view ttl) -> absl::Status {
            ASSIGN_OR_RETURN(const uint64_t lease, DecodeNumber(id));
            ASSIGN_OR_RETURN(const uint64_t ttl_ms, DecodeNumber(ttl));
            AddLeaseLocked(lease, absl::Milliseconds(static_cast<int64_t>(ttl_ms)));
            return absl::OkStatus();
          }));
    }
    ends_leases_ = std::thread([this] {
      NameThread("store-leases");
      EndLeases();
    });
    return absl::OkStatus();
  }

  std::string Name() const override { return absl::StrCat("embedded in \"", folder_, "\""); }
  bool exclusive() const override { return true; }

  absl::StatusOr<StoreEntry> Get(absl::string_view key) override {
    std::string bytes;
    const rocksdb::Status status =
        db_->Get(rocksdb::ReadOptions(), absl::StrCat(kDataPrefix, key), &bytes);
    if (status.IsNotFound()) {
      return absl::NotFoundError(absl::StrCat("the store has no key \"", key, "\""));
    }
    RETURN_IF_ERROR(ToAbsl(status, "read", folder_));
    ASSIGN_OR_RETURN(const uint64_t revision, DecodeNumber(bytes));
    return StoreEntry{std::string(key), bytes.substr(8), revision};
  }

  absl::StatusOr<std::vector<StoreEntry>> List(absl::string_view prefix) override {
    std::vector<StoreEntry> entries;
    RETURN_IF_ERROR(ForEach(
        absl::StrCat(kDataPrefix, prefix),
        [&](absl::string_view rest, absl::string_view bytes) -> absl::Status {
          ASSIGN_OR_RETURN(const uint64_t revision, DecodeNumber(bytes));
          entries.push_back({absl::StrCat(prefix, rest), std::string(bytes.substr(8)), revision});
          return absl::OkStatus();
        }));
    return entries;
  }

  absl::StatusOr<uint64_t> Commit(const StoreTransaction& transaction) override {
    // Writes are rare and small: one at a time, held over the sync, so that watchers see them in
    // the order of their revisions.
    MutexLock lock(&write_mu_);
    for (const StoreCompare& compare : transaction.compares) {
      uint64_t present = 0;
      const absl::StatusOr<StoreEntry> entry = Get(compare.key);
      if (entry.ok()) present = entry->revision;
      if (!entry.ok() && !absl::IsNotFound(entry.status())) return entry.status();
      if (present == compare.revision) continue;
      return absl::AbortedError(absl::StrCat("key \"", compare.key, "\" has revision ", present,
                                             ", not ", compare.revision,
                                             ": someone changed it meanwhile; read it again"));
    }
    for (const StoreWrite& write : transaction.writes) {
      if (write.lease != 0) RETURN_IF_ERROR(CheckLeaseLocked(write.lease));
    }
    rocksdb::WriteBatch batch;
    return WriteLocked(transaction.writes, &batch);
  }

  absl::StatusOr<std::unique_ptr<StoreWatch>> Watch(absl::string_view prefix) override {
    auto watcher = std::make_unique<Watcher>(this, prefix);
    MutexLock lock(&watchers_mu_);
    watchers_.insert(watcher.get());
    return watcher;
  }

  absl::StatusOr<uint64_t> GrantLease(absl::Duration ttl) override {
    MutexLock lock(&write_mu_);
    const uint64_t lease = revision_ + 1;
    rocksdb::WriteBatch batch;
    batch.Put(absl::StrCat(kLeasePrefix, EncodeNumber(lease)),
              EncodeNumber(static_cast<uint64_t>(absl::ToInt64Milliseconds(ttl))));
    RETURN_IF_ERROR(WriteLocked({}, &batch).status());
    AddLeaseLocked(lease, ttl);
    leases_changed_.NotifyAll();
    return lease;
  }

  absl::Status RenewLease(uint64_t lease) override {
    MutexLock lock(&write_mu_);
    RETURN_IF_ERROR(CheckLeaseLocked(lease));
    Lease& renewed = leases_[lease];
    renewed.ends = SteadyNow() + renewed.ttl;
    return absl::OkStatus();
  }

  absl::Status EndLease(uint64_t lease) override {
    MutexLock lock(&write_mu_);
    return EndLeaseLocked(lease);
  }

  absl::Status ForgetHistory() override { return absl::OkStatus(); }

  std::vector<StoreEndpoint> Endpoints() override { return {}; }

  void Forget(Watcher* watcher) {
    MutexLock lock(&watchers_mu_);
    watchers_.erase(watcher);
  }

 private:
  struct Lease {
    absl::Duration ttl;
    absl::Time ends;  // SteadyNow()
  };

  // Calls `visit` with what follows `start` in the key, and the value.
  absl::Status ForEach(
      const std::string& start,
      const std::function<absl::Status(absl::string_view, absl::string_view)>& visit) const {
    std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(rocksdb::ReadOptions()));
    for (it->Seek(start); it->Valid() && it->key().starts_with(start); it->Next()) {
      RETURN_IF_ERROR(
          visit(absl::string_view(it->key().data(), it->key().size()).substr(start.size()),
                {it->value().data(), it->value().size()}));
    }
    return ToAbsl(it->status(), "read", folder_);
  }

  void AddLeaseLocked(uint64_t lease, absl::Duration ttl) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu_) {
    leases_[lease] = {.ttl = ttl, .ends = SteadyNow() + ttl};
  }

  absl::Status CheckLeaseLocked(uint64_t lease) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu_) {
    const auto found = leases_.find(lease);
    if (found != leases_.end() && SteadyNow() < found->second.ends) return absl::OkStatus();
    return absl::NotFoundError(absl::StrCat("lease ", lease, " has ended; ask for another"));
  }

  // Adds the writes to what `batch` has already, under the next revision, and tells the watchers.
  absl::StatusOr<uint64_t> WriteLocked(const std::vector<StoreWrite>& writes,
                                       rocksdb::WriteBatch* batch)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu_) {
    const uint64_t revision = revision_ + 1;
    for (const StoreWrite& write : writes) {
      const std::string key = absl::StrCat(kDataPrefix, write.key);
      const std::string attached = absl::StrCat(kAttachedPrefix, write.key);
      if (write.value.has_value()) {
        batch->Put(key, absl::StrCat(EncodeNumber(revision), *write.value));
      } else {
        batch->Delete(key);
      }
      if (write.value.has_value() && write.lease != 0) {
        batch->Put(attached, EncodeNumber(write.lease));
      } else {
        batch->Delete(attached);
      }
    }
    batch->Put(kRevisionKey, EncodeNumber(revision));
    rocksdb::WriteOptions options;
    options.sync = true;
    RETURN_IF_ERROR(ToAbsl(db_->Write(options, batch), "write to", folder_));
    revision_ = revision;
    MutexLock watchers_lock(&watchers_mu_);
    for (const StoreWrite& write : writes) {
      const StoreEntry written{write.key, write.value.value_or(""), revision,
                               !write.value.has_value()};
      for (Watcher* watcher : watchers_) watcher->Offer(written);
    }
    return revision;
  }

  absl::Status EndLeaseLocked(uint64_t lease) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu_) {
    if (!leases_.contains(lease)) return absl::OkStatus();
    std::vector<StoreWrite> gone;
    RETURN_IF_ERROR(ForEach(kAttachedPrefix,
                            [&](absl::string_view key, absl::string_view bytes) -> absl::Status {
                              ASSIGN_OR_RETURN(const uint64_t attached, DecodeNumber(bytes));
                              if (attached == lease) gone.push_back({.key = std::string(key)});
                              return absl::OkStatus();
                            }));
    rocksdb::WriteBatch batch;
    batch.Delete(absl::StrCat(kLeasePrefix, EncodeNumber(lease)));
    RETURN_IF_ERROR(WriteLocked(gone, &batch).status());
    leases_.erase(lease);
    return absl::OkStatus();
  }

  void EndLeases() {
    MutexLock lock(&write_mu_);
    while (!stop_) {
      absl::Time next = absl::InfiniteFuture();
      uint64_t first = 0;
      for (const auto& [lease, times] : leases_) {
        if (times.ends < next) {
          next = times.ends;
          first = lease;
        }
      }
      const absl::Duration left = next - SteadyNow();
      if (first == 0) {
        leases_changed_.Wait(&write_mu_);
      } else if (left > absl::ZeroDuration()) {
        leases_changed_.WaitFor(&write_mu_, left);
      } else if (!EndLeaseLocked(first).ok()) {
        // The disk refuses, which whoever writes is told; the lease counts as ended meanwhile.
        leases_changed_.WaitFor(&write_mu_, absl::Seconds(1));
      }
    }
  }

  const std::string folder_;
  const std::unique_ptr<rocksdb::DB> db_;

  Mutex write_mu_;
  uint64_t revision_ ABSL_GUARDED_BY(write_mu_);
  std::map<uint64_t, Lease> leases_ ABSL_GUARDED_BY(write_mu_);
  bool stop_ ABSL_GUARDED_BY(write_mu_) = false;
  CondVar leases_changed_;

  Mutex watchers_mu_;  // taken after write_mu_
  std::set<Watcher*> watchers_ ABSL_GUARDED_BY(watchers_mu_);

  std::thread ends_leases_;  // last: uses all of the above
};

Watcher::~Watcher() { store_->Forget(this); }

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenRocksDbStore(const std::string& folder) {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.max_log_file_size = 1 << 20;
  options.keep_log_file_num = 4;
  rocksdb::DB* raw = nullptr;
  RETURN_IF_ERROR(ToAbsl(rocksdb::DB::Open(options, folder, &raw), "open", folder));
  std::unique_ptr<rocksdb::DB> db(raw);

  std::string bytes;
  uint64_t revision = 0;
  const rocksdb::Status status = db->Get(rocksdb::ReadOptions(), kRevisionKey, &bytes);
  if (!status.IsNotFound()) {
    RETURN_IF_ERROR(ToAbsl(status, "read", folder));
    ASSIGN_OR_RETURN(revision, DecodeNumber(bytes));
  }
  auto store = std::make_unique<RocksDbStore>(folder, std::move(db), revision);
  RETURN_IF_ERROR(store->Begin());
  return store;
}

}  // namespace bdr::server
