// The version of a row: when it was committed, and where.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "base/origin.h"

namespace bdr::conflict {

// Total order: by time, then by node. Stamps rise strictly within an origin, and are above every
// stamp that had been applied at the origin before, so they respect causality even where a clock
// was set back. Equal stamps mean the same transaction.
struct Stamp {
  int64_t time_us = 0;  // µs since 1970, by the origin's rule for stamps (see stamp_clock.h)
  NodeId node = 0;

  friend auto operator<=>(const Stamp&, const Stamp&) = default;
};

// Older than every stamp.
inline constexpr Stamp kNever{};

std::string ToString(Stamp stamp);

}  // namespace bdr::conflict
