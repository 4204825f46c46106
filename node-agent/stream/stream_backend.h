// What the stream asks of the rest of the agent, so that it knows nothing of capture and apply.
#pragma once

#include <cstdint>
#include <vector>

#include "base/lsn.h"
#include "base/origin.h"

namespace bdr::agent {

// One origin as a heartbeat tells of it; the fields mean what they mean in
// proto/bdr/v1/stream.proto, OriginProgress.
struct HeartbeatOrigin {
  OriginId origin;
  Lsn published_lsn = {};
  int64_t promise_us = 0;
  Lsn stable_lsn = {};
  int64_t stable_us = 0;
  NodeId stable_held_by = 0;
};

struct HeartbeatInfo {
  int64_t clock_us = 0;
  std::vector<HeartbeatOrigin> origins;
};

// Positions of one origin at a subscriber, in that origin's WAL.
struct AckInfo {
  OriginId origin;
  Lsn received_lsn = {};
  Lsn durable_lsn = {};
  Lsn applied_lsn = {};
};

// Thread-safe; every call returns at once.
class StreamBackend {
 public:
  virtual ~StreamBackend() = default;

  // The clock of this node's PostgreSQL, µs since 1970; 0 if it is not known.
  virtual int64_t ServerClock() const = 0;
  virtual HeartbeatInfo MakeHeartbeat() = 0;
  // `peer` is who sent it; it may tell of other origins than its own.
  virtual void OnHeartbeat(NodeId peer, const HeartbeatInfo& heartbeat) = 0;
  virtual std::vector<AckInfo> MakeAcks() = 0;
  virtual void OnAcks(NodeId subscriber, const std::vector<AckInfo>& acks) = 0;
};

}  // namespace bdr::agent
