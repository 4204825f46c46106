// The members of a cluster, and every change that there is to them, as pure functions: state in,
// state out. What is decided here is written by cluster.h.
//
// Legal moves of a member: (none) -> JOINING by AddNode; JOINING -> ACTIVE once its agent captures;
// JOINING -> (none) by RemoveNode. Others fetch changes only of members that are ACTIVE, so nobody
// has any of one that is removed.
// Every change raises the epoch by one; what changes nothing leaves the epoch alone, so that each
// request may be repeated.
//
// A state that comes from a backup is `restored`: nothing is decided by it until it is certain that
// no agent knows a newer one (rebuild.h). So nothing that somebody has seen is ever taken back:
// neither an epoch, nor the id of a node, nor the version of a setting.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/origin.h"

namespace bdr::server {

struct ClusterMember {
  NodeId id = 0;
  std::string name = "";
  std::string address = "";
  bool active = false;
  uint32_t incarnation = 0;      // as its agent reported; 0: not yet
  int64_t added_us = 0;          // µs since 1970
  uint64_t settings_ready = 0;   // the newest settings that its agent is ready for
  uint64_t settings_active = 0;  // that its own changes go by
  uint64_t followed_epoch = 0;   // by its agent; moves without a change of the epoch
  uint64_t since_epoch = 0;      // as of which it has an incarnation; 0: it has none, or is older
  std::string data_dir_id = "";  // of the agent that first reported an incarnation; empty: none has

  friend bool operator==(const ClusterMember&, const ClusterMember&) = default;
};

// One value that a setting has had.
struct ClusterSetting {
  std::string key = "";
  std::string value = "";
  uint64_t version = 0;

  friend bool operator==(const ClusterSetting&, const ClusterSetting&) = default;
};

// A node that was taken back before it had joined.
struct RemovedMember {
  NodeId id = 0;
  std::string name = "";
  int64_t removed_us = 0;  // µs since 1970

  friend bool operator==(const RemovedMember&, const RemovedMember&) = default;
};

// A step of a node's clock that an administrator has accepted; see proto/bdr/v1/control.proto.
struct AcceptedClock {
  uint64_t id = 0;  // 0: there is none
  NodeId node = 0;
  int64_t ceiling_us = 0;
  int64_t advance_us = 0;
  int64_t accepted_us = 0;

  friend bool operator==(const AcceptedClock&, const AcceptedClock&) = default;
};

struct ClusterState {
  std::string id = "";  // empty: not initialised
  std::string name = "";
  uint64_t epoch = 0;
  NodeId last_node_id = 0;  // ids are given out upwards and never again
  std::vector<ClusterMember> members = {};
  uint64_t settings_version = 0;              // of the newest setting
  uint64_t settings_active = 0;               // in force; never falls
  std::vector<ClusterSetting> settings = {};  // every value ever set, by version
  AcceptedClock accepted_clock = {};
  std::vector<RemovedMember> removed = {};
  bool restored = false;

  const ClusterMember* Find(absl::string_view node) const;
  const ClusterMember* Find(NodeId id) const;
  // The newest value that was set; nullptr if there is none.
  const ClusterSetting* FindSetting(absl::string_view key) const;

  friend bool operator==(const ClusterState&, const ClusterState&) = default;
};

// [a-z][a-z0-9-]{0,62}, of clusters and nodes alike. kInvalidArgument with what is allowed.
absl::Status CheckName(absl::string_view what, absl::string_view name);

// `fresh_id` becomes the cluster's id if it has none yet. kAlreadyExists under another name.
absl::StatusOr<ClusterState> InitCluster(ClusterState state, absl::string_view name,
                                         absl::string_view fresh_id);

struct NewNode {
  std::string name = "";
  std::string address = "";
  bool no_copy = false;
  int64_t now_us = 0;
};
// kFailedPrecondition before InitCluster and without no_copy, kAlreadyExists if the name or the
// address belongs to another node, kResourceExhausted once all ids were given out.
absl::StatusOr<ClusterState> AddNode(ClusterState state, const NewNode& node);

// kNotFound if there is no such node; kFailedPrecondition if it has joined: others may have its
// changes then. Its id is not given out again. Removing it once more changes nothing.
absl::StatusOr<ClusterState> RemoveNode(ClusterState state, absl::string_view name, int64_t now_us);

// kNotFound if there is no such node, kAlreadyExists if the address belongs to another,
// kInvalidArgument if it is none.
absl::StatusOr<ClusterState> SetNodeAddress(ClusterState state, absl::string_view name,
                                            absl::string_view address);

struct NodeReport {
  std::string name = "";
  std::string cluster_id = "";   // as the agent has it; empty: none yet
  uint32_t incarnation = 0;      // 0: not known yet
  std::string data_dir_id = "";  // empty: the agent is older than these ids
  NodeId node_id = 0;            // as the agent has it; 0: none yet
  uint64_t known_epoch = 0;      // of the newest membership that it knows
  uint64_t followed_epoch = 0;
  bool captures = false;
  uint64_t settings_ready = 0;
  uint64_t settings_active = 0;
};
// kNotFound if no such node was added, or if it was removed; kFailedPrecondition if the agent
// belongs to another cluster or knows a newer state than this one, is another node by its own id,
// reports an older incarnation than before (its data folder went back in time) or one that it
// cannot have, or has another data folder than the one that the node is known by (it was lost, or
// there are two agents).
absl::StatusOr<ClusterState> ApplyReport(ClusterState state, const NodeReport& report);

// Sets one of the cluster's settings. It comes into force once every member is ready for it: at
// once if there are none. kFailedPrecondition before InitCluster, kInvalidArgument for a key of
// another kind than those that agents know.
absl::StatusOr<ClusterState> SetSetting(ClusterState state, absl::string_view key,
                                        absl::string_view value);

struct ClockStep {
  std::string node = "";
  int64_t ceiling_us = 0;
  int64_t advance_us = 0;
  int64_t now_us = 0;
};
// kNotFound if there is no such node; kInvalidArgument if the step does not go forward. The same
// step again changes nothing.
absl::StatusOr<ClusterState> AcceptClock(ClusterState state, const ClockStep& step);

}  // namespace bdr::server
