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
#include "node-agent/changelog/change_log.h"
#include "node-agent/clocks/clock_gate.h"
#include "node-agent/cluster/membership.h"
#include "node-agent/inflight/own_changes.h"
#include "node-agent/positions/progress.h"
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

struct StatusParts {
  OriginId own;
  Health health;  // of the agent itself
  const Capture* capture;
  const Watcher* watcher;
  const ChunkKeeper* chunks;
  const Progress* progress;
  const ChangeLog* log;
  const ClockGate* clock_gate;
  const ClockSkews* clock_skews;
  const DeadLetters* dead_letters;
  const ForeignKeyActions* foreign_key_actions;
  std::optional<Health> merges_own;  // of merging this node's own changes again
  std::vector<PeerStatus> peers;
  const OwnChanges* own_changes;
  const CaptureGaps* gaps;
  const SchemaWatch* schema;
  const Membership* membership;
};

void FillHealth(const Health& from, v1::Health* to);
void FillGap(const CaptureGap& from, v1::CaptureGap* to);
void FillRunningStatus(const StatusParts& parts, v1::NodeStatus* status);

}  // namespace bdr::agent
