// Whose database it is: one node's, and the database itself knows.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "base/origin.h"
#include "postgres/connection.h"

namespace bdr::agent {

// Takes the database for a node if it is nobody's yet. kFailedPrecondition, with that node's name,
// if it is another's.
absl::Status ClaimDatabase(postgres::Connection& connection, const std::string& cluster_id,
                           NodeId node, const std::string& name);

}  // namespace bdr::agent
