// bdrctl node check, through the agents or straight at a database.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "ctl/command.h"
#include "postgres/setup/setup_sql.h"

namespace bdr::ctl {

struct NodeCheckOptions {
  std::string node;      // empty: every node
  std::string database;  // not empty: this database instead
  std::string role;
  bool all = false;
};

absl::StatusOr<int> RunNodeCheck(const Invocation& invocation, const NodeCheckOptions& options);

// What the server of a connection string has set.
absl::StatusOr<pg_setup::ServerSettings> ReadServerSettings(const std::string& database);

}  // namespace bdr::ctl
