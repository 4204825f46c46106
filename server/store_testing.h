// An embedded store as if other processes had it open as well, and as if it could be cut off. Only
// tests include this.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/store/store.h"

namespace bdr::server {

class SharedStore : public Store {
 public:
  // `store` outlives it.
  explicit SharedStore(Store* store) : store_(store) {}

  // Nothing gets through any more.
  void set_broken(bool broken) { broken_ = broken; }

  std::string Name() const override { return "shared"; }
  bool exclusive() const override { return false; }
  absl::StatusOr<StoreEntry> Get(absl::string_view key) override {
    if (broken_) return Broken();
    return store_->Get(key);
  }
  absl::StatusOr<std::vector<StoreEntry>> List(absl::string_view prefix) override {
    if (broken_) return Broken();
    return store_->List(prefix);
  }
  absl::StatusOr<uint64_t> Commit(const StoreTransaction& transaction) override {
    if (broken_) return Broken();
    return store_->Commit(transaction);
  }
  absl::StatusOr<std::unique_ptr<StoreWatch>> Watch(absl::string_view prefix) override {
    if (broken_) return Broken();
    return store_->Watch(prefix);
  }
  absl::StatusOr<uint64_t> GrantLease(absl::Duration ttl) override {
    if (broken_) return Broken();
    return store_->GrantLease(ttl);
  }
  absl::Status RenewLease(uint64_t lease) override {
    return broken_ ? Broken() : store_->RenewLease(lease);
  }
  absl::Status EndLease(uint64_t lease) override {
    return broken_ ? Broken() : store_->EndLease(lease);
  }
  absl::Status ForgetHistory() override { return store_->ForgetHistory(); }
  std::vector<StoreEndpoint> Endpoints() override { return {}; }

 private:
  static absl::Status Broken() { return absl::UnavailableError("cut off"); }

  Store* const store_;
  std::atomic<bool> broken_ = false;
};

}  // namespace bdr::server
