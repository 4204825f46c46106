// Names of what a node keeps on its PostgreSQL server outside its database.
//
// Replication origins and slots belong to the whole server (PostgreSQL's manual, "Replication
// Progress Tracking" and "Replication Slots"), where other databases may be nodes too, of this
// cluster or of another. So the cluster's id and the node's own stand in each name:
//
//   slot               bdr_5f0c12ab_3_eu1
//   origins            bdr_5f0c12ab_3_<node>_<incarnation>
//   origin of repairs  bdr_5f0c12ab_3_repair (repair/row_repair.h)
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "base/origin.h"

namespace bdr::agent {

// Immutable.
class ServerNames {
 public:
  // `cluster_id` as bdr-server gave it out; `node` is named `node_name`.
  static ServerNames Of(absl::string_view cluster_id, NodeId node, absl::string_view node_name);
  // Names as they were before they told nodes apart: bdr_eu1, bdr_<node>_<incarnation>, bdr_repair.
  // For data folders from then, whose slot and origins are there already.
  static ServerNames Older(absl::string_view node_name);

  const std::string& slot() const { return slot_; }
  std::string Origin(OriginId origin) const;
  // One session holds it at a time. Rows written under it are nobody's own: appliers ask the
  // version store about them.
  std::string RepairOrigin() const;
  // nullopt for what is no name of Origin(): another node's, another tool's.
  std::optional<OriginId> Parse(absl::string_view name) const;

 private:
  ServerNames(std::string prefix, std::string slot)
      : prefix_(std::move(prefix)), slot_(std::move(slot)) {}

  std::string prefix_;  // of the origins
  std::string slot_;
};

}  // namespace bdr::agent
