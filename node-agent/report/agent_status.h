// What the running agent tells of itself, gathered from its parts.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/health.h"
#include "base/origin.h"
#include "node-agent/apply/foreign_keys/foreign_key_actions.h"
#include "node-agent/apply/letters/dead_letters.h"
#include "node-agent/capture/capture.h"
#include "node-agent/capture/gaps.h"
#include "node-agent/changelog/stores.h"
#include "node-agent/clocks/clocks.h"
#include "node-agent/cluster/membership.h"
#include "node-agent/inflight/in_flight.h"
#include "node-agent/positions/positions.h"
#include "node-agent/report/peer_status.h"
#include "node-agent/schema/schema_watch.h"
#include "node-agent/sequences/chunk_keeper.h"
#include "node-agent/upkeep/clock_skews.h"
#include "node-agent/upkeep/watcher.h"

namespace bdr::v1 {
class CaptureGap;
class Health;
class NodeStatus;
}  // namespace bdr::v1

namespace bdr::agent {

// All outlive the call.
struct StatusParts {
  OriginId own;
  Health health;  // of the agent itself
  Stores stores;
  Positions positions;
  Clocks clocks;
  InFlight in_flight;
  const Capture* capture = nullptr;
  const CaptureGaps* gaps = nullptr;
  const Watcher* watcher = nullptr;
  const ChunkKeeper* chunks = nullptr;
  const ClockSkews* clock_skews = nullptr;
  const DeadLetters* dead_letters = nullptr;
  const ForeignKeyActions* foreign_key_actions = nullptr;
  const SchemaWatch* schema = nullptr;
  std::optional<Health> merges_own;  // of merging this node's own changes again
  std::vector<PeerStatus> peers;
  const Membership* membership = nullptr;
};

void FillHealth(const Health& from, v1::Health* to);
void FillGap(const CaptureGap& from, v1::CaptureGap* to);
// Any thread; waits for nothing. The node's health is the worst of its parts' (worst_health.h).
void FillRunningStatus(const StatusParts& parts, v1::NodeStatus* status);

}  // namespace bdr::agent
