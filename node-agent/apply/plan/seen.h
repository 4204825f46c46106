// What a transaction had seen of each node when it committed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "conflict/seen.h"
#include "node-agent/changelog/block.h"

namespace bdr::agent {

// Of a transaction of `origin`; points into the header.
inline conflict::Seen SeenBy(const TransactionHeader& header, NodeId origin) {
  return {.origin = origin, .others = header.seen};
}

// As conflict::Seen::Until().
inline int64_t SeenUntilTime(const TransactionHeader& header, NodeId origin, NodeId node) {
  return SeenBy(header, origin).Until(node);
}

// For SQL that asks by the replication origin of a row: `of(node)` at the place of each of ours,
// `local` in front (0: local commits), and `unknown` where a row of another tool's would look.
template <typename Value, typename OfNode>
std::vector<Value> ByRoident(const absl::flat_hash_map<uint32_t, NodeId>& node_of_roident,
                             const Value& local, const Value& unknown, OfNode of) {
  uint32_t largest = 0;
  for (const auto& [roident, node] : node_of_roident) largest = std::max(largest, roident);
  std::vector<Value> values(largest + 1, unknown);
  values[0] = local;
  for (const auto& [roident, node] : node_of_roident) values[roident] = of(node);
  return values;
}

}  // namespace bdr::agent
