// Whether a database is fit to be a node: each requirement with its verdict, and for what is
// missing the very statement that mends it. Also names what works but may surprise.
//
// Only reads. Run by the agent at its start, by `bdrctl node check`, and by tests.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "postgres/connection.h"

namespace bdr::pg_setup {

struct Finding {
  enum class Level {
    kOk,
    kWarning,  // works, may surprise
    kError,    // does not work
  };
  Level level = Level::kOk;
  std::string what;    // one line
  std::string remedy;  // one SQL statement for an administrator; empty if there is none
  // Of single tables: a node that is one already goes on with all others.
  bool of_tables = false;
};

struct CheckOptions {
  // The agent's role. Empty: the one that is connected.
  std::string role = "";
  // Only what somebody can take from under a running agent and nothing else tells of, and nothing
  // that has to look at each table: quick, however many there are.
  bool running = false;
};

// Every finding, good ones included. Leaves the session as it was; kFailedPrecondition if the
// connection is inside a transaction, else only errors of the connection itself.
absl::StatusOr<std::vector<Finding>> CheckNode(postgres::Connection& connection,
                                               const CheckOptions& options = {});

// The worst level among `findings`; kOk if there are none.
Finding::Level WorstLevel(const std::vector<Finding>& findings);

}  // namespace bdr::pg_setup
