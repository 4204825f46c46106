// What a run found wrong, gathered from all its threads.
#pragma once

#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace bdr::chaos {

// Thread-safe.
class Findings {
 public:
  void Add(std::string what) {
    MutexLock lock(&mu_);
    any_ = true;
    if (found_.empty()) first_at_ = absl::Now();
    if (found_.size() < kMost) found_.push_back(std::move(what));
  }
  bool any() const { return any_; }
  absl::Time first_at() const {
    MutexLock lock(&mu_);
    return first_at_;
  }
  std::vector<std::string> all() const {
    MutexLock lock(&mu_);
    return found_;
  }

 private:
  static constexpr size_t kMost = 50;
  std::atomic<bool> any_{false};
  mutable Mutex mu_;
  absl::Time first_at_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  std::vector<std::string> found_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::chaos
