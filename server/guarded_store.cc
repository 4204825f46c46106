#include "server/guarded_store.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/thread_name.h"
#include "bdr/v1/store.pb.h"
#include "server/store_keys.h"

namespace bdr::server {
namespace {

constexpr absl::Duration kLookEvery = absl::Seconds(2);

absl::Status NotInUse(const v1::MovedStore& moved, const std::string& name) {
  if (moved.state() == v1::MovedStore::MOVED) {
    return absl::UnavailableError(absl::StrCat(
        "the cluster's state was moved from here (", name, ") to ", moved.other(),
        ": set \"store\" in bdr-server's configuration accordingly, and start it again"));
  }
  return absl::UnavailableError(absl::StrCat(
      "a move of the cluster's state from ", moved.other(), " to here (", name,
      ") is not finished: run \"bdrctl server migrate\" once more on a bdr-server of the former"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<GuardedStore>> GuardedStore::Guard(std::unique_ptr<Store> store) {
  std::unique_ptr<GuardedStore> guarded(new GuardedStore(std::move(store)));
  const absl::StatusOr<StoreEntry> entry = guarded->store_->Get(kMovedKey);
  v1::MovedStore moved;
  if (entry.ok() && guarded->exclusive() && moved.ParseFromString(entry->value) &&
      moved.state() == v1::MovedStore::COPYING) {
    RETURN_IF_ERROR(guarded->TakeBack(*entry));  // it was this process's predecessor
  }
  const absl::Status status = guarded->Check();
  // What it says is said to everybody who asks.
  if (!status.ok()) LogError("store", {{"state", "refused"}}, status.message());
  if (!guarded->exclusive()) {
    guarded->thread_ = std::thread([raw = guarded.get()] {
      NameThread("store-guard");
      raw->Run();
    });
  }
  return guarded;
}

GuardedStore::~GuardedStore() {
  {
    MutexLock lock(&mu_);
    stop_ = true;
    wake_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void GuardedStore::Run() {
  MutexLock lock(&mu_);
  while (!stop_) {
    wake_.WaitFor(&mu_, kLookEvery);
    if (stop_) return;
    mu_.Unlock();
    (void)Check();  // whoever uses the store is told
    mu_.Lock();
  }
}

absl::Status GuardedStore::Check() {
  const absl::StatusOr<StoreEntry> entry = store_->Get(kMovedKey);
  absl::Status refused;
  v1::MovedStore moved;
  if (entry.ok()) {
    if (!moved.ParseFromString(entry->value)) {
      refused = absl::InternalError("the store's entry \"moved\" is damaged: restore a backup");
    } else if (moved.state() != v1::MovedStore::COPYING) {
      refused = NotInUse(moved, Name());
    } else if (IsGivenUp(moved)) {
      return TakeBack(*entry);
    }
  } else if (!absl::IsNotFound(entry.status())) {
    return entry.status();
  }
  MutexLock lock(&mu_);
  if (refused_.ok() && !refused.ok()) {
    LogError("store", {{"state", "in_use->refused"}}, refused.message());
  }
  refused_ = refused;
  moved_to_ = moved.state() == v1::MovedStore::MOVED ? moved.other() : "";
  return refused;
}

absl::StatusOr<uint64_t> GuardedStore::Move(Store* to, const MoveOptions& options) {
  {
    MutexLock lock(&mu_);
    if (moving_) return absl::AbortedError("the cluster's state is being moved already: try again");
    moving_ = true;
    moved_as_ = options.server_id;
  }
  absl::StatusOr<uint64_t> keys = MoveStore(store_.get(), to, options);
  MutexLock lock(&mu_);
  moving_ = false;
  return keys;
}

bool GuardedStore::IsGivenUp(const v1::MovedStore& copying) {
  {
    // Our own, whose mark was written though the answer was lost, or could not be removed.
    MutexLock lock(&mu_);
    if (!moved_as_.empty() && copying.server_id() == moved_as_) return !moving_;
  }
  // The server that copied is gone.
  return !exclusive() &&
         absl::IsNotFound(store_->Get(absl::StrCat(kServerPrefix, copying.server_id())).status());
}

absl::Status GuardedStore::TakeBack(const StoreEntry& marker) {
  LogWarning("store", {{"state", "copying->in_use"}},
             "a move of the state ended before it was done: the state stays here");
  return store_
      ->Commit({.compares = {{kMovedKey, marker.revision}}, .writes = {{.key = kMovedKey}}})
      .status();
}

absl::Status GuardedStore::Refused() const {
  MutexLock lock(&mu_);
  return refused_;
}

std::string GuardedStore::moved_to() const {
  MutexLock lock(&mu_);
  return moved_to_;
}

absl::StatusOr<StoreEntry> GuardedStore::Get(absl::string_view key) {
  RETURN_IF_ERROR(Refused());
  return store_->Get(key);
}

absl::StatusOr<std::vector<StoreEntry>> GuardedStore::List(absl::string_view prefix) {
  RETURN_IF_ERROR(Refused());
  return store_->List(prefix);
}

absl::StatusOr<std::unique_ptr<StoreWatch>> GuardedStore::Watch(absl::string_view prefix) {
  RETURN_IF_ERROR(Refused());
  return store_->Watch(prefix);
}

absl::StatusOr<uint64_t> GuardedStore::Commit(const StoreTransaction& transaction) {
  RETURN_IF_ERROR(Refused());
  StoreTransaction guarded = transaction;
  guarded.compares.push_back({kMovedKey, 0});
  const absl::StatusOr<uint64_t> written = store_->Commit(guarded);
  if (!absl::IsAborted(written.status())) return written;
  RETURN_IF_ERROR(Check());
  const absl::StatusOr<StoreEntry> marker = store_->Get(kMovedKey);
  if (!marker.ok()) return written.status();
  return absl::UnavailableError(
      "the cluster's state is being moved to another store: try again in a few seconds");
}

}  // namespace bdr::server
