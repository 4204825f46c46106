// Whether the database can be a node, this node, now.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "base/origin.h"
#include "node-agent/changelog/change_log.h"
#include "node-agent/changelog/database.h"

namespace bdr::agent {

struct NodeOfDatabase {
  std::string conninfo;
  std::string cluster_id;
  NodeId id = 0;
  std::string name;
};

// Looks at the server and the database, and takes the database for this node if it is nobody's yet
// (database_claim.h). Repeating it is harmless. kUnavailable if PostgreSQL cannot be reached;
// kFailedPrecondition, with what to do, for whatever keeps it from being a node: too old, unfit
// (pg_setup::CheckNode), another schema version, another node's, or with a past that the data
// folder knows nothing of (start_at_present.h). What a table lacks is only logged.
absl::Status TakeDatabase(const NodeOfDatabase& node, Database* database, const ChangeLog& log);

}  // namespace bdr::agent
