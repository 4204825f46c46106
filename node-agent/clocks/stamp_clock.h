// Gives every local transaction its stamp.
//
// PostgreSQL's commit time is nearly it, but not quite: commit times and the order in the WAL
// disagree by microseconds, clocks are set back, and promises have been made. So the time is raised
// where needed: above the stamp before it, above every promise, and above every stamp that had been
// applied here before. What is given out is not a function of the WAL; it must be durable before
// anyone acts on it.
#pragma once

#include <cstdint>
#include <deque>

#include "base/mutex.h"

namespace bdr::agent {

// Thread-safe.
class StampClock {
 public:
  // Nothing it gives out is at or below `floor_us`: the last stamp and the ceiling of what was
  // promised before the agent stopped. `newest_us`: that last stamp.
  explicit StampClock(int64_t floor_us, int64_t newest_us = 0)
      : last_us_(floor_us), newest_us_(newest_us) {}

  // The stamp of the next transaction in WAL order, all in µs since 1970.
  int64_t Next(int64_t commit_us, int64_t newest_applied_us);

  // The last stamp that was given to a transaction; promises do not count.
  int64_t Newest() const;

  // Every stamp yet to come is later: the last one, or the last promise.
  int64_t Floor() const;

  // Raises the floor: from now on every stamp is later than `promise_us`. Returns the promise,
  // which is later if stamps are.
  int64_t Promise(int64_t promise_us);

  // The largest difference between a stamp and its commit time, of commits at or after
  // `since_us`. A local row's native commit time may be that much below its stamp.
  int64_t LargestRaise(int64_t since_us);

 private:
  struct Raise {
    int64_t stamp_us = 0;
    int64_t raise_us = 0;
  };
  mutable Mutex mu_;
  int64_t last_us_ ABSL_GUARDED_BY(mu_);
  int64_t newest_us_ ABSL_GUARDED_BY(mu_);
  std::deque<Raise> raises_ ABSL_GUARDED_BY(mu_);  // one for each second in which there was one
};

}  // namespace bdr::agent
