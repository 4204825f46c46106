// How long to wait before the next attempt: twice as long each time, within bounds, and never the
// same on two nodes, so that they do not all come back at the same moment.
#pragma once

#include <algorithm>
#include <random>

#include "absl/time/time.h"

namespace bdr::agent {

// Not thread-safe.
class Backoff {
 public:
  Backoff(absl::Duration shortest, absl::Duration longest)
      : shortest_(shortest), longest_(longest), next_(shortest) {}

  // Between one half and the whole of the bound, which then doubles.
  absl::Duration Next() {
    const absl::Duration bound = next_;
    next_ = std::min(longest_, next_ * 2);
    return WithJitter(bound);
  }
  absl::Duration WithJitter(absl::Duration bound) {
    return bound * std::uniform_real_distribution<double>(0.5, 1.0)(random_);
  }
  void Reset() { next_ = shortest_; }

 private:
  const absl::Duration shortest_;
  const absl::Duration longest_;
  absl::Duration next_;
  std::minstd_rand random_{std::random_device{}()};
};

}  // namespace bdr::agent
