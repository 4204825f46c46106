#include "node-agent/capture/promises.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "base/test_hooks.h"
#include "node-agent/capture/wal_pages.h"

namespace bdr::agent {

bool Promises::May(const Pulse& pulse, Lsn decoded) {
  return pulse.clock_us != 0 && decoded >= BeforePageHeader(pulse.insert_lsn);
}

absl::StatusOr<int64_t> Promises::Next(const Pulse& pulse, int64_t newest_applied_us,
                                       bool settling) {
  if (std::exchange(insert_lsn_, pulse.insert_lsn) != pulse.insert_lsn) {
    unmoved_since_us_ = pulse.clock_us;
  }
  // While the clock is behind what was applied here, stamps go on from there and not from the
  // clock. A promise by the clock would hold back the stable time everywhere until it caught up.
  const int64_t wanted_us =
      newest_applied_us > pulse.clock_us ? newest_applied_us : pulse.clock_us - kSlackUs;
  const int64_t between_us = std::min((pulse.clock_us - unmoved_since_us_) / 10, kLongestBetweenUs);
  // A setting comes into force once what was before it is stable, and somebody waits for that.
  const bool busy = between_us < kCeilingStepUs || settling;
  const int64_t promise =
      busy || wanted_us >= promised_us_ + between_us ? stamps_->Promise(wanted_us) : promised_us_;
  if (promise > ceiling_us_ && !BDR_RULE_BROKEN("promise_durable")) {
    const int64_t ceiling = busy ? promise + kCeilingStepUs : promise;
    RETURN_IF_ERROR(write_ceiling_(ceiling));
    ceiling_us_ = ceiling;
  }
  promised_us_ = promise;
  return promise;
}

}  // namespace bdr::agent
