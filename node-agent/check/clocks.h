// How far apart clocks are, as far as asking for the time can tell.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "postgres/setup/findings_text.h"

namespace bdr::agent {

// Another machine's clock against ours, in µs.
struct ClockReading {
  int64_t ahead_us = 0;      // negative: behind
  int64_t uncertain_us = 0;  // to either side: half the round trip

  // It showed `shown_us` at some moment between `asked_us` and `answered_us` of our clock.
  static ClockReading Of(int64_t shown_us, int64_t asked_us, int64_t answered_us) {
    return {.ahead_us = shown_us - (asked_us + (answered_us - asked_us) / 2),
            .uncertain_us = (answered_us - asked_us + 1) / 2};
  }
};

// A warning if they are surely further apart than `max_skew`. By the clocks of PostgreSQL servers
// changes are held; without its word ours stands for it. Nothing without bdr-server's.
pg_setup::Checked CheckClocks(std::optional<ClockReading> bdr_server,
                              std::optional<ClockReading> postgres, absl::Duration max_skew);

}  // namespace bdr::agent
