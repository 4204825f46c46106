// What is under way between capture and the appliers, as one thing to hand on. Whoever is given it
// owns nothing of it; everything in it outlives him and is thread-safe.
#pragma once

#include "node-agent/inflight/capture_barrier.h"
#include "node-agent/inflight/keys_in_flight.h"
#include "node-agent/inflight/own_changes.h"

namespace bdr::agent {

struct InFlight {
  KeysInFlight* keys = nullptr;
  OwnChanges* own_changes = nullptr;
  CaptureBarrier* barrier = nullptr;
};

}  // namespace bdr::agent
