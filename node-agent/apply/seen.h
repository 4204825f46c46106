// What a transaction had seen of each node when it committed.
#pragma once

#include <cstdint>

#include "node-agent/changelog/block.h"

namespace bdr::agent {

// Up to which stamp's time (µs) a transaction of `origin` had seen what `node` committed; INT64_MAX
// if that is its own node, 0 if nothing.
inline int64_t SeenUntilTime(const TransactionHeader& header, NodeId origin, NodeId node) {
  if (node == origin) return INT64_MAX;
  for (const SeenUntil& seen : header.seen) {
    if (seen.node == node) return seen.time_us;
  }
  return 0;
}

}  // namespace bdr::agent
