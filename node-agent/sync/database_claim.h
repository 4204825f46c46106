// Whose database it is: one node's, and the database itself knows.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/origin.h"
#include "postgres/connection.h"

namespace bdr::agent {

struct DatabaseOwner {
  std::string cluster_id;
  std::string node_id;
  std::string name;
};

// nullopt while it is nobody's.
absl::StatusOr<std::optional<DatabaseOwner>> ReadDatabaseOwner(postgres::Connection& connection);

// The error for whoever is not that owner, but of cluster `cluster_id`: kFailedPrecondition, with
// that node's name and what to do.
absl::Status AnothersDatabase(const DatabaseOwner& owner, const std::string& cluster_id);

// Takes the database for a node if it is nobody's yet. kFailedPrecondition, with that node's name,
// if it is another's.
absl::Status ClaimDatabase(postgres::Connection& connection, const std::string& cluster_id,
                           NodeId node, const std::string& name);

}  // namespace bdr::agent
