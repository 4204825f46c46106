// Which causes have been logged: whoever is refused tries again, perhaps for ever, and each cause
// is to be one line in the log, not one for each attempt.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <utility>

#include "base/mutex.h"

namespace bdr {

// Thread-safe. Remembers a limited number: what comes beyond is not news either, so that nobody can
// fill memory or log.
class SaidOnce {
 public:
  // True at the first call with this cause. It should hold nothing that differs between attempts.
  bool IsNews(std::string cause) {
    MutexLock lock(&mu_);
    return said_.size() < kMost && said_.insert(std::move(cause)).second;
  }

 private:
  static constexpr size_t kMost = 10'000;

  Mutex mu_;
  std::set<std::string> said_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr
