// What bdr-server had lost, made anew from what the agents know: each of them keeps the whole state
// as it was last told of it.
//
// Agents are told an epoch only once it is durable, so the newest that any of them knows is one
// that the cluster was in, and what the others know are earlier ones of the same history. What
// nobody who is heard knows is lost; but nothing that only a node that is not heard may know is
// given out again: the epoch and the version of the settings go on far above.
//
// Pure, as cluster_state.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/origin.h"
#include "server/cluster_state.h"

namespace bdr::server {

// By this much, which nobody reaches while bdr-server is away, both go on above what is known.
inline constexpr uint64_t kRebuiltAbove = 1'000'000;

// What an agent has just told of itself and of the cluster that it belongs to.
struct Witness {
  std::string node = "";  // its name
  NodeId node_id = 0;     // as it has it; 0: none yet
  std::string data_dir_id = "";
  std::string cluster_id = "";  // empty: it belongs to none
  uint64_t known_epoch = 0;
  ClusterState known = {};  // as of that epoch; empty: it tells it with its next report
};

// kFailedPrecondition, with their names, if agents that belong to a cluster are among `heard`: a
// bdr-server that has none has most likely lost it.
absl::Status CheckNoneBelongs(const std::vector<Witness>& heard);

struct RebuildRequest {
  std::string name = "";                // that the cluster must have; empty: any
  std::vector<std::string> nodes = {};  // must be heard; empty: all members that have had an agent
  std::vector<Witness> heard = {};
};
// The newest state that `state` and those heard know, raised above all that a node that was not
// heard may know. If nobody knows a newer one `state` stays as it is, unless it is restored.
//
// A cluster without a member that has ever had an agent gives way to the one that the agents belong
// to; agents of other clusters than one that has are passed over, as their reports are refused.
//
// kFailedPrecondition if nobody was heard, if a node that must be heard was not, or if two
// contradict each other: they belong to different clusters, or what one knows cannot be an earlier
// state of what the other does. kUnavailable if somebody has not told yet what it knows, which
// could be newer. kAlreadyExists if the cluster has another name than `name`; kNotFound if it has
// no node of those that must be heard.
absl::StatusOr<ClusterState> RebuildCluster(ClusterState state, const RebuildRequest& request);

// kFailedPrecondition if the witness knows an older state, or the same, which cannot have become
// this one: it was rebuilt without hearing enough of them.
absl::Status CheckKnown(const ClusterState& state, const Witness& witness);

// `state`, which is restored, in force again. kFailedPrecondition, with what to do, unless every
// member that has had an agent was heard and none knows a newer state: which of what they know is
// taken is for an administrator to say, not for a node.
absl::StatusOr<ClusterState> ConfirmRestored(ClusterState state, const std::vector<Witness>& heard);

}  // namespace bdr::server
