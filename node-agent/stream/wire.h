// Between the messages of proto/bdr/v1/stream.proto and our own types.
//
// What comes from a peer is checked here: numbers that do not fit our types are an error, never
// cut.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/origin.h"
#include "node-agent/changelog/block.h"
#include "node-agent/stream/stream_backend.h"

namespace bdr::v1 {
class Ack;
class Heartbeat;
class Subscription;
}  // namespace bdr::v1

namespace bdr::agent {

// Where a subscriber wants an origin's blocks from.
struct WantedOrigin {
  OriginId origin;
  Cursor from;
};

void ToWire(const std::vector<WantedOrigin>& wanted, v1::Subscription* message);
void ToWire(const HeartbeatInfo& heartbeat, v1::Heartbeat* message);
void ToWire(const std::vector<AckInfo>& acks, v1::Ack* message);

// All: kInvalidArgument for a node id that cannot be one.
// Also for an origin that is named twice.
absl::StatusOr<std::vector<WantedOrigin>> WantedFromWire(const v1::Subscription& message);
absl::StatusOr<HeartbeatInfo> HeartbeatFromWire(const v1::Heartbeat& message);
absl::StatusOr<std::vector<AckInfo>> AcksFromWire(const v1::Ack& message);

}  // namespace bdr::agent
