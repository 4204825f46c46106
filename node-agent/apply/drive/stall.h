// Notices that something gets no further although there is something to do.
//
// Pure: the clock comes in. Not thread-safe.
#pragma once

#include <optional>

#include "absl/time/time.h"

namespace bdr::agent {

template <typename Position>
class StallWatch {
 public:
  explicit StallWatch(absl::Duration limit) : limit_(limit) {}

  // `waits`: there is something to do beyond `position`. Gives since when there has been no
  // progress, once that has lasted for longer than the limit. To be called again and again: what
  // happens between two calls counts as having happened at the second.
  std::optional<absl::Time> Look(const Position& position, bool waits, absl::Time now) {
    if (!waits || !known_.has_value() || *known_ != position) {
      known_ = position;
      since_ = now;
    }
    if (now - since_ <= limit_) return std::nullopt;
    return since_;
  }

 private:
  const absl::Duration limit_;
  std::optional<Position> known_;
  absl::Time since_ = absl::InfinitePast();
};

}  // namespace bdr::agent
