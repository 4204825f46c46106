// The members of a cluster, and every change that there is to them, as pure functions: state in,
// state out. What is decided here is written by cluster.h.
//
// Legal moves of a member: (none) -> JOINING by AddNode; JOINING -> ACTIVE once its agent captures.
// Every change raises the epoch by one; what changes nothing leaves the epoch alone, so that each
// request may be repeated.
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
  uint32_t incarnation = 0;  // as its agent reported; 0: not yet
  int64_t added_us = 0;      // µs since 1970

  friend bool operator==(const ClusterMember&, const ClusterMember&) = default;
};

struct ClusterState {
  std::string id = "";  // empty: not initialised
  std::string name = "";
  uint64_t epoch = 0;
  NodeId last_node_id = 0;  // ids are given out upwards and never again
  std::vector<ClusterMember> members = {};

  const ClusterMember* Find(absl::string_view node) const;

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

struct NodeReport {
  std::string name = "";
  std::string cluster_id = "";  // as the agent has it; empty: none yet
  uint32_t incarnation = 0;     // 0: not known yet
  bool captures = false;
};
// kNotFound if no such node was added; kFailedPrecondition if the agent belongs to another cluster,
// or reports an older incarnation than before (its data folder went back in time).
absl::StatusOr<ClusterState> ApplyReport(ClusterState state, const NodeReport& report);

}  // namespace bdr::server
