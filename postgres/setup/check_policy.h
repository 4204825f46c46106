// Whether a table can be merged by a policy: what has to be there on every node before one is set.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "postgres/connection.h"
#include "postgres/setup/node_check.h"

namespace bdr::pg_setup {

struct PolicyWish {
  std::string schema;
  std::string table;
  std::string policy;                // last_update_wins, first_update_wins, ...
  std::vector<std::string> columns;  // of delta
  std::string function;              // of custom: schema.name
};

// What stands against it, each with the statement that mends it; empty if nothing does. Connected
// as the agent's role.
absl::StatusOr<std::vector<Finding>> CheckPolicy(postgres::Connection& connection,
                                                 const PolicyWish& wish);

}  // namespace bdr::pg_setup
