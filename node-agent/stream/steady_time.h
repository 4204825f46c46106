// Time for measuring how long something takes: does not jump when a clock is set.
#pragma once

#include <chrono>

#include "absl/time/time.h"

namespace bdr::agent {

// Since some moment in the past, the same for the whole process.
inline absl::Duration SteadyNow() {
  return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace bdr::agent
