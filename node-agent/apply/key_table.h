// Keys in flight: rows that some applier is about to write, or is writing.
//
// An applier reads a row's version, decides, and writes. Two that did so for one row at the same
// time would decide on the same old version. So every key of a group is registered here first, all
// together or not at all; whoever comes later waits, holding nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace bdr::agent {

// Thread-safe.
class KeyTable {
 public:
  // Registered keys, given back when it goes away.
  class Registration {
   public:
    Registration() = default;
    Registration(KeyTable* table, uint64_t holder, std::vector<std::string> keys)
        : table_(table), holder_(holder), keys_(std::move(keys)) {}
    Registration(Registration&& other) noexcept { *this = std::move(other); }
    Registration& operator=(Registration&& other) noexcept {
      Release();
      table_ = std::exchange(other.table_, nullptr);
      holder_ = other.holder_;
      keys_ = std::move(other.keys_);
      return *this;
    }
    ~Registration() { Release(); }
    void Release();

   private:
    KeyTable* table_ = nullptr;
    uint64_t holder_ = 0;
    std::vector<std::string> keys_;
  };

  // Waits until no other holder has any of `keys` (version keys), then registers them all. Returns
  // an empty optional-like pair on timeout: {false, {}}.
  std::pair<bool, Registration> Register(uint64_t holder, std::vector<std::string> keys,
                                         absl::Duration timeout);

  // Waits until nobody else has any key, then registers the whole table of keys: for a transaction
  // too large to name its keys beforehand. Others wait meanwhile.
  std::pair<bool, Registration> RegisterAll(uint64_t holder, absl::Duration timeout);

 private:
  bool FreeLocked(uint64_t holder, const std::vector<std::string>& keys)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Mutex mu_;
  CondVar released_;
  absl::flat_hash_map<std::string, uint64_t> holders_ ABSL_GUARDED_BY(mu_);
  uint64_t exclusive_ ABSL_GUARDED_BY(mu_) = 0;
  // Who waits for everything; nobody else begins meanwhile, or it might wait for ever.
  uint64_t exclusive_waiter_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace bdr::agent
