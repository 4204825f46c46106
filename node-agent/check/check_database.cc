#include "node-agent/check/check_database.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "node-agent/check/check_files.h"
#include "node-agent/positions/applied_position.h"
#include "node-agent/sync/database_claim.h"
#include "node-agent/sync/first_start.h"
#include "postgres/connection.h"
#include "postgres/schema_version.h"
#include "postgres/setup/findings.h"

namespace bdr::agent {
namespace {

using pg_setup::Finding;
using pg_setup::Findings;

absl::StatusOr<ClockReading> ReadClock(postgres::Connection& connection) {
  const int64_t asked_us = absl::ToUnixMicros(absl::Now());
  ASSIGN_OR_RETURN(
      const std::string shown,
      connection.QueryValue("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8"));
  const int64_t answered_us = absl::ToUnixMicros(absl::Now());
  int64_t shown_us = 0;
  if (absl::SimpleAtoi(shown, &shown_us)) return ClockReading::Of(shown_us, asked_us, answered_us);
  return absl::InternalError("the server's clock is no number");
}

absl::Status CheckOwner(postgres::Connection& connection, const AgentConfig& config,
                        const std::string& cluster_id, Findings& findings) {
  ASSIGN_OR_RETURN(const std::optional<DatabaseOwner> owner, ReadDatabaseOwner(connection));
  if (!owner.has_value()) {
    findings.Ok(absl::StrCat("the database is no node's yet, and will be \"", config.node, "\"'s"));
  } else if (owner->name == config.node &&
             (cluster_id.empty() || owner->cluster_id == cluster_id)) {
    findings.Ok(absl::StrCat("the database is node \"", config.node, "\"'s"));
  } else {
    const std::string& expected = cluster_id.empty() ? owner->cluster_id : cluster_id;
    findings.Error(std::string(AnothersDatabase(*owner, expected).message()));
  }
  return absl::OkStatus();
}

absl::Status CheckPast(postgres::Connection& connection, const AgentConfig& config,
                       Findings& findings) {
  if (HasStore(config)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<AppliedPosition> applied, ReadApplied(connection));
  for (const AppliedPosition& position : applied) {
    if (position.lsn == Lsn{}) continue;
    findings.Error(std::string(DatabaseHasAPast(position).message()));
    break;
  }
  return absl::OkStatus();
}

// What schema bdr says can be asked only where it is as it should be.
absl::Status CheckSchema(postgres::Connection& connection, const AgentConfig& config,
                         const std::string& cluster_id, Findings& findings) {
  RETURN_IF_ERROR(postgres::CheckSchemaVersion(connection));
  findings.Ok("schema bdr is the one that this agent knows");
  RETURN_IF_ERROR(CheckOwner(connection, config, cluster_id, findings));
  return CheckPast(connection, config, findings);
}

absl::Status Look(const AgentConfig& config, const std::string& cluster_id,
                  std::vector<Finding>* findings, std::optional<ClockReading>* clock) {
  ASSIGN_OR_RETURN(const std::unique_ptr<postgres::Connection> connection,
                   postgres::Connection::Connect(
                       {.conninfo = config.database, .application_name = "bdr-agent --check"}));
  ASSIGN_OR_RETURN(*clock, ReadClock(*connection));
  ASSIGN_OR_RETURN(*findings, pg_setup::CheckNode(*connection));
  Findings more;
  const absl::Status schema = CheckSchema(*connection, config, cluster_id, more);
  for (Finding& finding : more.Take()) findings->push_back(std::move(finding));
  return schema;
}

}  // namespace

AskedDatabase AskDatabase(const AgentConfig& config, const std::string& cluster_id) {
  AskedDatabase asked{.checked = {"database", {}}, .clock = std::nullopt};
  const absl::Status status = Look(config, cluster_id, &asked.checked.findings, &asked.clock);
  if (!status.ok()) {
    asked.checked.findings.push_back(
        {.level = Finding::Level::kError, .what = std::string(status.message()), .remedy = ""});
  }
  return asked;
}

}  // namespace bdr::agent
