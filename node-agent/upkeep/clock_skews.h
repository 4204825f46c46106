// Clocks that are too far apart, told before a change is held for it: a node that is ahead and idle
// does no harm yet, and its first write would stand still on all others.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/health.h"
#include "base/mutex.h"

namespace bdr::agent {

// Look() is for one thread; health() for any.
class ClockSkews {
 public:
  // As heartbeats tell it now; a peer that is not heard has none.
  struct Skew {
    std::string peer;
    int64_t ahead_us = 0;  // its server's clock minus ours
  };

  explicit ClockSkews(absl::Duration max_skew) : max_skew_(max_skew) {}

  // To be called every second or so, `now` by a steady clock. A peer counts once it has been beyond
  // the limit for kPatience: a reading that came late, or a step that is set right at once, is
  // nothing to wake anybody for.
  void Look(absl::Time now, const std::vector<Skew>& skews);

  // A warning while a clock is out, in whichever direction: the node that is ahead hears as well
  // that others will hold its changes.
  Health health() const;

  static constexpr absl::Duration kPatience = absl::Seconds(2);

 private:
  struct Out {
    int64_t ahead_us = 0;
    absl::Time since;        // steady
    absl::Time since_clock;  // ours, for people
    bool told = false;
  };

  const absl::Duration max_skew_;
  mutable Mutex mu_;
  std::map<std::string, Out> out_ ABSL_GUARDED_BY(mu_);  // by peer
};

}  // namespace bdr::agent
