// What a transaction had seen of every node's commits when it was made.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "base/origin.h"
#include "conflict/stamp.h"

namespace bdr::conflict {

// Every stamp of the node up to this time had been seen.
struct SeenTime {
  NodeId node = 0;
  int64_t time_us = 0;
  friend bool operator==(const SeenTime&, const SeenTime&) = default;
};

// Of nodes that are not named nothing had been seen; of its own all. Points to what it was given.
struct Seen {
  NodeId origin = 0;
  absl::Span<const SeenTime> others = {};

  // Up to which stamp's time (µs) what `node` committed had been seen; INT64_MAX if that is the
  // transaction's own node, 0 if nothing.
  int64_t Until(NodeId node) const {
    if (node == origin) return INT64_MAX;
    for (const SeenTime& seen : others) {
      if (seen.node == node) return seen.time_us;
    }
    return 0;
  }
  bool Has(Stamp stamp) const { return stamp.time_us <= Until(stamp.node); }
};

}  // namespace bdr::conflict
