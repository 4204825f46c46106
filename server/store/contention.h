// How often a change is attempted that a compare-and-set may refuse because somebody else was
// faster.
#pragma once

#include <algorithm>

#include "absl/random/random.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace bdr::server {

// Each attempt but the first waits for a while by chance, longer each time (at most 50 ms), so that
// whoever has the slower way to the store comes through among others that never pause.
//
//     for (Contention contention; contention.Again();) { read; compare-and-set, or return; }
class Contention {
 public:
  static constexpr int kAttempts = 50;

  bool Again() {
    if (attempt_ > 0) {
      absl::SleepFor(absl::Microseconds(absl::Uniform(random_, 0, 100 << std::min(attempt_, 9))));
    }
    return ++attempt_ <= kAttempts;
  }

 private:
  int attempt_ = 0;
  absl::BitGen random_;
};

}  // namespace bdr::server
