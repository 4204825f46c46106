// What this node may promise to the others while nothing is committed here: that every stamp yet to
// come is later than a given time.
//
// A promise is kept by raising the stamp clock's floor first. It must be kept by the next life of
// the agent as well, which knows nothing of this one: so a ceiling over all promises is written
// down, durably, before one leaves that lies above it. Too low a promise only holds others up; one
// above the ceiling could be broken after a crash, and rows would differ for good.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/lsn.h"
#include "node-agent/capture/pulse.h"
#include "node-agent/clocks/stamp_clock.h"

namespace bdr::agent {

// Not thread-safe: belongs to a session of capture. Asks no clock but the pulse it is given.
class Promises {
 public:
  // A promise stays this far behind the clock, so that commits under way at that moment rarely have
  // their stamps raised by it.
  static constexpr int64_t kSlackUs = 10'000;
  // Promises are written ahead in steps, so that not each costs a sync. A restart goes on from
  // there, so it is less than what peers take for a wrong clock (max_clock_skew, if nobody has set
  // less).
  static constexpr int64_t kCeilingStepUs = 250'000;
  // Where the server has written nothing for a while, promises come the more seldom the longer that
  // is: a tenth of it, and at most this.
  static constexpr int64_t kLongestBetweenUs = 2'000'000;

  // `write_ceiling` returns once its argument is durable; an error of it is passed on, and nothing
  // is promised. `stamps` outlives it.
  Promises(StampClock* stamps, std::function<absl::Status(int64_t ceiling_us)> write_ceiling)
      : stamps_(stamps), write_ceiling_(std::move(write_ceiling)) {}

  // Whether anything may be promised by this pulse: only once all that was in the WAL when its
  // clock was read has its stamp.
  static bool May(const Pulse& pulse, Lsn decoded);

  // The promise to publish now, perhaps the last one again; its ceiling is durable. May() holds.
  // `newest_applied_us`: the newest stamp of what was applied here. `settling`: somebody waits for
  // the stable time.
  absl::StatusOr<int64_t> Next(const Pulse& pulse, int64_t newest_applied_us, bool settling);

 private:
  StampClock* const stamps_;
  const std::function<absl::Status(int64_t)> write_ceiling_;
  int64_t ceiling_us_ = 0;  // durable; 0: not known to this session
  int64_t promised_us_ = 0;
  Lsn insert_lsn_;  // of the last pulse, and since when it is that
  int64_t unmoved_since_us_ = 0;
};

}  // namespace bdr::agent
