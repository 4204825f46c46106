#include "node-agent/capture/slot.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "node-agent/changelog/state.h"
#include "node-agent/positions/applied_position.h"
#include "postgres/replication.h"

namespace bdr::agent {
namespace {

constexpr absl::string_view kStateCreatingSlot = "creating_slot";

}  // namespace

// The history first, as what a crash took must not count as seen by what is decoded from here on.
// Then whether the slot may be taken for ours: without anything captured only if we have begun to
// create it. Then whether it is there, and last whether it begins where the log ends, which is
// compared when both are known to be of this server's past.
absl::StatusOr<Slot::Position> Slot::Find() {
  ASSIGN_OR_RETURN(const std::unique_ptr<postgres::Connection> sql,
                   postgres::Connection::Connect(
                       {.conninfo = options_.conninfo, .application_name = "bdr capture"}));
  ASSIGN_OR_RETURN(const ServerPast::Told told, CheckPast(sql.get()));
  ASSIGN_OR_RETURN(std::optional<CapturedState> captured,
                   CapturedState::Load(parts_.stores.database));
  ASSIGN_OR_RETURN(std::optional<Row> slot, Look(sql.get()));
  if (!captured.has_value()) {
    if (slot.has_value()) RETURN_IF_ERROR(DropUnfinished(sql.get()));
    RETURN_IF_ERROR(Create());
    ASSIGN_OR_RETURN(captured, CapturedState::Load(parts_.stores.database));
    ASSIGN_OR_RETURN(slot, Look(sql.get()));
  }
  const std::string name = parts_.positions.names->slot();
  if (!slot.has_value() || slot->lost) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot resume capture: replication slot \"", name, "\" is ",
                     !slot.has_value() ? "missing" : "lost (the server removed WAL that it needs)",
                     "; changes committed here since ", ToString(captured->through),
                     " cannot be read any more: the node has to be copied anew"));
  }
  ASSIGN_OR_RETURN(const Lsn confirmed, ParseLsn(slot->confirmed));
  const Lsn start = std::max(captured->through, parts_.stores.log->End(options_.own).end_lsn);
  RETURN_IF_ERROR(parts_.positions.server_past->CheckCapture(*sql, start, captured->last, told));
  if (confirmed > start) {
    // The server would start at its own position and report no error: what lies between would be
    // lost. Repeating cannot help.
    return absl::FailedPreconditionError(
        absl::StrCat("cannot resume capture: replication slot \"", name, "\" has confirmed ",
                     ToString(confirmed), " but the change log ends at ", ToString(start),
                     "; data_dir was replaced or restored: the node has to be copied anew"));
  }
  return Position{.start = start, .captured = *captured};
}

// If it was a crash that ended the last session, groups may be gone that the history counts as
// seen, and WAL positions come again that lay behind them.
absl::StatusOr<ServerPast::Told> Slot::CheckPast(postgres::Connection* sql) {
  AppliedHistory* const history = parts_.positions.applied;
  ServerPast* const past = parts_.positions.server_past;
  const std::vector<OriginLsn> finished = history->Finished();
  // While PostgreSQL was away, nobody's session kept one from being dropped.
  RETURN_IF_ERROR(past->CheckOrigins(*sql, *parts_.positions.names));
  ASSIGN_OR_RETURN(const ServerPast::Told told, past->Ask(*sql));
  for (const OriginLsn& known : finished) {
    for (const AppliedPosition& position : told.applied) {
      if (position.origin != known.origin) continue;
      history->Lost(known.origin, known.lsn, position.lsn, position.stamp_us);
    }
  }
  return told;
}

absl::StatusOr<std::optional<Slot::Row>> Slot::Look(postgres::Connection* sql) {
  const std::string name = parts_.positions.names->slot();
  const postgres::Param param{.data = name};
  ASSIGN_OR_RETURN(const postgres::Result result,
                   sql->ExecParams("SELECT confirmed_flush_lsn, coalesce(wal_status, 'lost') "
                                   "FROM pg_replication_slots WHERE slot_name = $1",
                                   absl::MakeConstSpan(&param, 1)));
  if (result.rows() == 0) return std::optional<Row>();
  return std::optional<Row>(
      Row{.confirmed = std::string(result.value(0, 0)), .lost = result.value(0, 1) == "lost"});
}

// This agent died between creating the slot and writing down where it begins; unless the slot is
// another's.
absl::Status Slot::DropUnfinished(postgres::Connection* sql) {
  const std::string name = parts_.positions.names->slot();
  ASSIGN_OR_RETURN(const std::optional<std::string> creating,
                   State(parts_.stores.database).Get(kStateCreatingSlot));
  if (!creating.has_value()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "cannot capture: replication slot \"", name,
        "\" exists but the change log in data_dir is empty; it was removed or belongs to another "
        "agent. If no other agent uses the slot and this node was never a member, drop it: "
        "SELECT pg_drop_replication_slot('",
        name, "')"));
  }
  const postgres::Param param{.data = name};
  return sql->ExecParams("SELECT pg_drop_replication_slot($1)", absl::MakeConstSpan(&param, 1))
      .status();
}

absl::Status Slot::Create() {
  health_->Set(Health::Level::kWarning, CaptureState::kCreatingSlot,
               "waits for transactions that were running to end");
  State state(parts_.stores.database);
  RETURN_IF_ERROR(state.Put(kStateCreatingSlot, "1", /*sync=*/true));
  ASSIGN_OR_RETURN(const std::unique_ptr<postgres::ReplicationConnection> connection,
                   postgres::ReplicationConnection::Connect(
                       {.conninfo = options_.conninfo, .application_name = "bdr capture"}));
  waits_->SetWaiting(connection.get());
  const absl::StatusOr<postgres::CreatedSlot> created =
      connection->CreateSlot({.name = parts_.positions.names->slot()});
  waits_->SetWaiting(nullptr);
  if (!created.ok()) return created.status();
  const postgres::CreatedSlot& slot = *created;
  RETURN_IF_ERROR(state.Put(kStateCaptured,
                            CapturedState{.through = slot.consistent_point}.Encode(),
                            /*sync=*/true));
  LogInfo(
      "capture",
      {{"state", "slot_created"}, {"slot", slot.name}, {"lsn", ToString(slot.consistent_point)}});
  return absl::OkStatus();
}

}  // namespace bdr::agent
