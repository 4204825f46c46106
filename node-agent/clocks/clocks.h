// The agent's clocks, as one thing to hand on. Whoever is given it owns nothing of it; everything
// in it outlives him and is thread-safe.
#pragma once

#include "node-agent/clocks/clock_gate.h"
#include "node-agent/clocks/stable_xid.h"
#include "node-agent/clocks/stamp_clock.h"

namespace bdr::agent {

struct Clocks {
  StampClock* stamps = nullptr;
  const ClockGate* gate = nullptr;
  StableXid* stable_xid = nullptr;
};

}  // namespace bdr::agent
