// Who committed a change first: a node, in one of its incarnations.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

// How a PostgreSQL server names them: node-agent/positions/server_names.h.
namespace bdr {

// 1..1023, given out by the control plane and never reused. 0 means "none".
using NodeId = uint16_t;
inline constexpr NodeId kMaxNodeId = 1023;

// A node's history under one incarnation. The incarnation grows whenever the history before it may
// have been rewound, so (node, incarnation, LSN) names one commit for ever.
struct OriginId {
  NodeId node = 0;
  uint32_t incarnation = 0;

  friend auto operator<=>(const OriginId&, const OriginId&) = default;

  template <typename H>
  friend H AbslHashValue(H h, const OriginId& o) {
    return H::combine(std::move(h), o.node, o.incarnation);
  }
};

// "bdr_<node>_<incarnation>", for logs and messages.
std::string ToString(OriginId origin);

}  // namespace bdr
