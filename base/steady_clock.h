// Time for measuring how long something takes and for waits: it only ever passes, also while the
// time of day is set forward or back.
#pragma once

#include <chrono>

#include "absl/time/time.h"

namespace bdr {

// Only differences mean anything. Not a time of day: never to be shown, stored or sent.
inline absl::Time SteadyNow() {
  return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace bdr
