#include "node-agent/sync/fence.h"

#include <algorithm>

#include "base/status_macros.h"
#include "node-agent/positions/applied_position.h"
#include "postgres/connection.h"

namespace bdr::agent {
namespace {

absl::Status UnlessSetBack(absl::Status status) {
  return absl::IsFailedPrecondition(status) ? absl::OkStatus() : status;
}

// Ends what is left of earlier sessions, origin by origin.
absl::Status EndEarlierSessions(postgres::Connection& connection, const ServerNames& names) {
  ASSIGN_OR_RETURN(const std::vector<AppliedPosition> origins, ReadApplied(connection));
  for (const AppliedPosition& position : origins) {
    RETURN_IF_ERROR(TakeOrigin(connection, names, position.origin));
    RETURN_IF_ERROR(connection.Exec("SELECT pg_replication_origin_session_reset()").status());
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Fence(const std::string& conninfo, const ServerNames& names, Database* database,
                   Fenced* fenced) {
  fenced->applied = std::make_unique<AppliedHistory>();
  ASSIGN_OR_RETURN(
      const std::unique_ptr<postgres::Connection> connection,
      postgres::Connection::Connect({.conninfo = conninfo, .application_name = "bdr fence"}));
  RETURN_IF_ERROR(CreateRepairOrigin(*connection, names));
  ASSIGN_OR_RETURN(fenced->server_past, ServerPast::Load(database));
  RETURN_IF_ERROR(UnlessSetBack(fenced->server_past->CheckOrigins(*connection, names)));
  RETURN_IF_ERROR(EndEarlierSessions(*connection, names));
  // What earlier sessions applied counts for every local commit that is captured from now on.
  ASSIGN_OR_RETURN(const ServerPast::Told told, fenced->server_past->Ask(*connection));
  RETURN_IF_ERROR(UnlessSetBack(fenced->server_past->CheckApplied(told)));
  for (const AppliedPosition& position : told.applied) {
    fenced->applied->Reset(position.origin, position.lsn, position.stamp_us, position.local_after);
    fenced->newest_applied_us = std::max(fenced->newest_applied_us, position.stamp_us);
  }
  ASSIGN_OR_RETURN(fenced->letters, ReadDeadLetters(*connection));
  ASSIGN_OR_RETURN(const std::string lsn,
                   connection->QueryValue("SELECT pg_current_wal_insert_lsn()"));
  ASSIGN_OR_RETURN(fenced->at, ParseLsn(lsn));
  return absl::OkStatus();
}

}  // namespace bdr::agent
