// Layout: "k" + key holds the revision (8 bytes, big-endian) and the value; "revision" holds the
// newest revision. Both are written in one batch, synced.
#include "server/store/rocksdb_store.h"

#include <rocksdb/db.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/internal/endian.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"

namespace bdr::server {
namespace {

constexpr char kRevisionKey[] = "revision";
constexpr char kDataPrefix[] = "k";

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

std::string EncodeRevision(uint64_t revision) {
  std::string bytes(8, '\0');
  absl::big_endian::Store64(bytes.data(), revision);
  return bytes;
}

// kInternal for a value that this file did not write.
absl::StatusOr<uint64_t> DecodeRevision(absl::string_view bytes) {
  if (bytes.size() < 8) {
    return absl::InternalError("the store holds an entry without a revision: it is damaged");
  }
  return absl::big_endian::Load64(bytes.data());
}

class RocksDbStore;

class Watcher : public StoreWatch {
 public:
  Watcher(RocksDbStore* store, absl::string_view prefix) : store_(store), prefix_(prefix) {}
  ~Watcher() override;

  absl::StatusOr<std::optional<StoreEntry>> Next(absl::Duration timeout) override {
    const absl::Time deadline = SteadyNow() + timeout;
    MutexLock lock(&mu_);
    while (pending_.empty()) {
      const absl::Duration left = deadline - SteadyNow();
      if (left <= absl::ZeroDuration()) return std::nullopt;
      changed_.WaitFor(&mu_, left);
    }
    // The oldest first; later writes of a key have replaced its earlier ones.
    auto oldest = pending_.begin();
    for (auto it = pending_.begin(); it != pending_.end(); ++it) {
      if (it->second.revision < oldest->second.revision) oldest = it;
    }
    StoreEntry entry = std::move(oldest->second);
    pending_.erase(oldest);
    return entry;
  }

  void Offer(const StoreEntry& entry) {
    if (!absl::StartsWith(entry.key, prefix_)) return;
    MutexLock lock(&mu_);
    pending_[entry.key] = entry;
    changed_.NotifyAll();
  }

 private:
  RocksDbStore* const store_;
  const std::string prefix_;

  Mutex mu_;
  CondVar changed_;
  // By key, so that a watcher which nobody reads holds no more than the store itself.
  std::map<std::string, StoreEntry> pending_ ABSL_GUARDED_BY(mu_);
};

class RocksDbStore : public Store {
 public:
  RocksDbStore(std::string folder, std::unique_ptr<rocksdb::DB> db, uint64_t revision)
      : folder_(std::move(folder)), db_(std::move(db)), revision_(revision) {}

  absl::StatusOr<StoreEntry> Get(absl::string_view key) override {
    std::string bytes;
    const rocksdb::Status status =
        db_->Get(rocksdb::ReadOptions(), absl::StrCat(kDataPrefix, key), &bytes);
    if (status.IsNotFound()) {
      return absl::NotFoundError(absl::StrCat("the store has no key \"", key, "\""));
    }
    RETURN_IF_ERROR(ToAbsl(status, "read", folder_));
    ASSIGN_OR_RETURN(const uint64_t revision, DecodeRevision(bytes));
    return StoreEntry{std::string(key), bytes.substr(8), revision};
  }

  absl::StatusOr<std::vector<StoreEntry>> List(absl::string_view prefix) override {
    const std::string start = absl::StrCat(kDataPrefix, prefix);
    std::vector<StoreEntry> entries;
    std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(rocksdb::ReadOptions()));
    for (it->Seek(start); it->Valid() && it->key().starts_with(start); it->Next()) {
      ASSIGN_OR_RETURN(const uint64_t revision,
                       DecodeRevision({it->value().data(), it->value().size()}));
      entries.push_back(
          {it->key().ToString().substr(1), it->value().ToString().substr(8), revision});
    }
    RETURN_IF_ERROR(ToAbsl(it->status(), "read", folder_));
    return entries;
  }

  absl::StatusOr<uint64_t> Put(absl::string_view key, absl::string_view value,
                               uint64_t expected_revision) override {
    // Writes are rare and small: one at a time, held over the sync, so that watchers see them in
    // the order of their revisions.
    MutexLock lock(&write_mu_);
    uint64_t present = 0;
    const absl::StatusOr<StoreEntry> entry = Get(key);
    if (entry.ok()) present = entry->revision;
    if (!entry.ok() && !absl::IsNotFound(entry.status())) return entry.status();
    if (present != expected_revision) {
      return absl::AbortedError(absl::StrCat("key \"", key, "\" has revision ", present, ", not ",
                                             expected_revision,
                                             ": someone changed it meanwhile; read it again"));
    }
    const uint64_t revision = revision_ + 1;
    rocksdb::WriteBatch batch;
    batch.Put(absl::StrCat(kDataPrefix, key), absl::StrCat(EncodeRevision(revision), value));
    batch.Put(kRevisionKey, EncodeRevision(revision));
    rocksdb::WriteOptions options;
    options.sync = true;
    RETURN_IF_ERROR(ToAbsl(db_->Write(options, &batch), "write to", folder_));
    revision_ = revision;
    const StoreEntry written{std::string(key), std::string(value), revision};
    MutexLock watchers_lock(&watchers_mu_);
    for (Watcher* watcher : watchers_) watcher->Offer(written);
    return revision;
  }

  absl::StatusOr<std::unique_ptr<StoreWatch>> Watch(absl::string_view prefix) override {
    auto watcher = std::make_unique<Watcher>(this, prefix);
    MutexLock lock(&watchers_mu_);
    watchers_.insert(watcher.get());
    return watcher;
  }

  void Forget(Watcher* watcher) {
    MutexLock lock(&watchers_mu_);
    watchers_.erase(watcher);
  }

 private:
  const std::string folder_;
  const std::unique_ptr<rocksdb::DB> db_;

  Mutex write_mu_;
  uint64_t revision_ ABSL_GUARDED_BY(write_mu_);

  Mutex watchers_mu_;  // taken after write_mu_
  std::set<Watcher*> watchers_ ABSL_GUARDED_BY(watchers_mu_);
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
    ASSIGN_OR_RETURN(revision, DecodeRevision(bytes));
  }
  return std::make_unique<RocksDbStore>(folder, std::move(db), revision);
}

}  // namespace bdr::server
