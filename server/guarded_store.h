// A store that is not used any more once its content was moved to another one.
//
// The key "moved" (bdr.v1.MovedStore) says so, to every server on the store. Each write compares in
// its own transaction that there is no such key: a write that a server had under way when the copy
// was begun does not go through, so the copy misses nothing.
//
// States of a store: (no key) counts. COPYING: it is being copied, writes wait. MOVED: another one
// counts; reads and writes are refused. INCOMING: a copy that does not count yet; the same.
// (none) -> COPYING -> MOVED or, given up, (none); INCOMING -> (none). See migrate.h.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "server/migrate.h"
#include "server/store/store.h"

namespace bdr::v1 {
class MovedStore;
}

namespace bdr::server {

// Thread-safe. Errors are as those of the store that it guards, and kUnavailable, with where to go,
// while that one is not to be used.
class GuardedStore : public Store {
 public:
  // Takes back a move that a dead process had begun. On a store that others share a thread looks
  // every few seconds whether one of them has moved it.
  static absl::StatusOr<std::unique_ptr<GuardedStore>> Guard(std::unique_ptr<Store> store);
  ~GuardedStore() override;

  // Looks now. kUnavailable if the store is not to be read or written.
  absl::Status Check();
  // As MoveStore() to `to`, which is not guarded; kAborted as well if this object is moving it
  // already. A mark that a failed one leaves behind is taken back by the next look or write.
  absl::StatusOr<uint64_t> Move(Store* to, const MoveOptions& options);
  Store* unguarded() const { return store_.get(); }
  // The other one, if that counts; empty: this one does.
  std::string moved_to() const;

  std::string Name() const override { return store_->Name(); }
  bool exclusive() const override { return store_->exclusive(); }
  absl::StatusOr<StoreEntry> Get(absl::string_view key) override;
  absl::StatusOr<std::vector<StoreEntry>> List(absl::string_view prefix) override;
  absl::StatusOr<uint64_t> Commit(const StoreTransaction& transaction) override;
  absl::StatusOr<std::unique_ptr<StoreWatch>> Watch(absl::string_view prefix) override;
  absl::StatusOr<uint64_t> GrantLease(absl::Duration ttl) override {
    return store_->GrantLease(ttl);
  }
  absl::Status RenewLease(uint64_t lease) override { return store_->RenewLease(lease); }
  absl::Status EndLease(uint64_t lease) override { return store_->EndLease(lease); }
  absl::Status ForgetHistory() override { return store_->ForgetHistory(); }
  std::vector<StoreEndpoint> Endpoints() override { return store_->Endpoints(); }

 private:
  explicit GuardedStore(std::unique_ptr<Store> store) : store_(std::move(store)) {}

  absl::Status Refused() const;
  // Whether nobody works on a move that is marked so. The mark must have been read before.
  bool IsGivenUp(const v1::MovedStore& copying);
  // Ends such a move. kAborted if somebody else was faster.
  absl::Status TakeBack(const StoreEntry& marker);
  void Run();

  const std::unique_ptr<Store> store_;

  mutable Mutex mu_;
  CondVar wake_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status refused_ ABSL_GUARDED_BY(mu_);  // OK: it may be read
  std::string moved_to_ ABSL_GUARDED_BY(mu_);
  bool moving_ ABSL_GUARDED_BY(mu_) = false;
  std::string moved_as_ ABSL_GUARDED_BY(mu_);  // the id of this server; empty: it moved nothing yet

  std::thread thread_;  // last: uses all of the above
};

}  // namespace bdr::server
