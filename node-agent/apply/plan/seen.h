// What a transaction had seen of each node when it committed.
#pragma once

#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "node-agent/changelog/block.h"

namespace bdr::agent {

// Whether a row was written by an origin that is no node's: another tool's, which gave it any
// commit time it liked. So that time is as good as lost.
inline bool HasForeignTime(uint32_t roident,
                           const absl::flat_hash_map<uint32_t, NodeId>& node_of_roident) {
  return roident != 0 && !node_of_roident.contains(roident);
}

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
