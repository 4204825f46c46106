#include "node-agent/apply/key_table.h"

#include "absl/time/clock.h"

namespace bdr::agent {

void KeyTable::Registration::Release() {
  if (table_ == nullptr) return;
  {
    MutexLock lock(&table_->mu_);
    for (const std::string& key : keys_) table_->holders_.erase(key);
    if (table_->exclusive_ == holder_) table_->exclusive_ = 0;
  }
  table_->released_.NotifyAll();
  table_ = nullptr;
  keys_.clear();
}

bool KeyTable::FreeLocked(uint64_t holder, const std::vector<std::string>& keys) {
  if (exclusive_ != 0 && exclusive_ != holder) return false;
  if (exclusive_waiter_ != 0 && exclusive_waiter_ != holder) return false;
  for (const std::string& key : keys) {
    const auto found = holders_.find(key);
    if (found != holders_.end() && found->second != holder) return false;
  }
  return true;
}

std::pair<bool, KeyTable::Registration> KeyTable::Register(uint64_t holder,
                                                           std::vector<std::string> keys,
                                                           absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  MutexLock lock(&mu_);
  while (!FreeLocked(holder, keys)) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return {false, Registration()};
    released_.WaitFor(&mu_, left);
  }
  for (const std::string& key : keys) holders_[key] = holder;
  return {true, Registration(this, holder, std::move(keys))};
}

std::pair<bool, KeyTable::Registration> KeyTable::RegisterAll(uint64_t holder,
                                                              absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  MutexLock lock(&mu_);
  while (exclusive_ != 0 || !holders_.empty() ||
         (exclusive_waiter_ != 0 && exclusive_waiter_ != holder)) {
    if (exclusive_waiter_ == 0) exclusive_waiter_ = holder;
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) {
      if (exclusive_waiter_ == holder) exclusive_waiter_ = 0;
      released_.NotifyAll();
      return {false, Registration()};
    }
    released_.WaitFor(&mu_, left);
  }
  exclusive_waiter_ = 0;
  exclusive_ = holder;
  return {true, Registration(this, holder, {})};
}

}  // namespace bdr::agent
