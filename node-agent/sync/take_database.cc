#include "node-agent/sync/take_database.h"

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "node-agent/capture/capture.h"
#include "node-agent/sync/database_claim.h"
#include "node-agent/sync/start_at_present.h"
#include "postgres/connection.h"
#include "postgres/schema_version.h"
#include "postgres/setup/node_check.h"

namespace bdr::agent {
namespace {

constexpr int kMinServerVersion = 150000;

absl::Status CheckVersion(int server_version) {
  if (server_version >= kMinServerVersion) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("PostgreSQL ", server_version / 10000, " is too old: 15 or later is needed"));
}

absl::Status CheckFit(postgres::Connection& connection, bool running) {
  ASSIGN_OR_RETURN(const std::vector<pg_setup::Finding> findings,
                   pg_setup::CheckNode(connection, {.running = running}));
  for (const pg_setup::Finding& finding : findings) {
    if (finding.level != pg_setup::Finding::Level::kError) continue;
    // What somebody has done to a table is told of by status, too; it must not keep the node away.
    if (finding.of_tables) {
      LogWarning("agent", {{"state", "checking"}},
                 absl::StrCat(finding.what, "; ", finding.remedy));
    } else {
      return absl::FailedPreconditionError(absl::StrCat(
          "this database cannot be a node yet: ", finding.what,
          finding.remedy.empty() ? "" : absl::StrCat("; as administrator: ", finding.remedy),
          " (\"bdrctl node check\" shows all)"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status TakeDatabase(const NodeOfDatabase& node, Database* database, const ChangeLog& log) {
  ASSIGN_OR_RETURN(
      const std::unique_ptr<postgres::Connection> connection,
      postgres::Connection::Connect({.conninfo = node.conninfo, .application_name = "bdr check"}));
  RETURN_IF_ERROR(CheckVersion(connection->server_version()));
  // Before it becomes a node all is looked at. Of 10,000 tables that takes longer than a minute, so
  // one that has captured is looked at for what it can have lost.
  ASSIGN_OR_RETURN(const auto captured, CapturedState::Load(database));
  RETURN_IF_ERROR(CheckFit(*connection, /*running=*/captured.has_value()));
  RETURN_IF_ERROR(postgres::CheckSchemaVersion(*connection));
  RETURN_IF_ERROR(CheckNeverJoined(*connection, database, log));
  return ClaimDatabase(*connection, node.cluster_id, node.id, node.name);
}

}  // namespace bdr::agent
