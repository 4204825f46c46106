#include "node-agent/apply/session/server_session.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/test_hooks.h"
#include "node-agent/positions/applied_position.h"
#include "node-agent/tables/row_sql.h"
#include "node-agent/tables/writer_session.h"

namespace bdr::agent {
namespace {

using postgres::Result;

// Plans are generic and use indexes: one made while a table was small would scan it when it has
// grown.
constexpr char kApplySessionSql[] =
    "SET synchronous_commit = off; SET plan_cache_mode = force_generic_plan; SET enable_hashjoin = "
    "off;"
    "SET enable_mergejoin = off; SET enable_seqscan = off;"
    "SET bdr.stable_xid = '2'";  // kFrozenXid: nothing, until it is known

constexpr char kWalPositionSql[] = "SELECT pg_catalog.pg_current_wal_insert_lsn()";

Pipe::Handler TakeLsn(Lsn* lsn) {
  return [lsn](const Result& result) -> absl::Status {
    ASSIGN_OR_RETURN(*lsn, ParseLsn(result.value(0, 0)));
    return absl::OkStatus();
  };
}

}  // namespace

void ServerSession::Set(std::unique_ptr<postgres::Connection> connection) {
  MutexLock lock(&mu_);
  connection_ = std::move(connection);
}

void ServerSession::Close() {
  pipe_.reset();  // it leads to the connection
  in_transaction_ = false;
  lost_ = false;
  Set(nullptr);
}

void ServerSession::Cancel() {
  MutexLock lock(&mu_);
  if (connection_ != nullptr) connection_->Cancel();
}

absl::Status ServerSession::Open() {
  Close();
  server_life_ = options_.positions.progress->ServerLife();
  ASSIGN_OR_RETURN(std::unique_ptr<postgres::Connection> connection,
                   postgres::Connection::Connect({.conninfo = options_.conninfo,
                                                  .application_name = absl::StrCat(
                                                      "bdr apply ", ToString(options_.origin))}));
  Set(std::move(connection));
  RETURN_IF_ERROR(SetUp());
  return TakeReplicationOrigin();
}

absl::Status ServerSession::SetUp() {
  RETURN_IF_ERROR(connection_->Exec(absl::StrCat(kWritesForOthersSql, kApplySessionSql)).status());
  if (!options_.comes_again) {
    // Merged counts as done, so a crash of the server must not take it back.
    RETURN_IF_ERROR(connection_->Exec("SET synchronous_commit = local").status());
  }
  stable_xid_ = kFrozenXid;
  // Apply is to be the victim of a deadlock, not the user; whoever looks first is.
  const absl::Status timeout = connection_->Exec("SET deadlock_timeout = '20ms'").status();
  if (!timeout.ok() && !warned_timeout_) {
    warned_timeout_ = true;
    LogWarning("apply", {{"origin", ToString(options_.origin)}},
               absl::StrCat("deadlocks may hit users: ", timeout.message()));
  }
  return connection_->broken() ? timeout : absl::OkStatus();
}

absl::Status ServerSession::TakeReplicationOrigin() {
  const Positions& positions = options_.positions;
  RETURN_IF_ERROR(positions.server_past->CheckOrigins(*connection_, *positions.names));
  RETURN_IF_ERROR(TakeOrigin(*connection_, *positions.names, options_.origin));
  return connection_
      ->Exec(
          absl::StrCat("INSERT INTO bdr.progress (origin_node, origin_incarnation, lsn) VALUES (",
                       options_.origin.node, ", ", options_.origin.incarnation,
                       ", '0/0') ON CONFLICT DO NOTHING"))
      .status();
}

absl::Status ServerSession::ReadCommitted() {
  return options_.comes_again ? ReadProgress() : SettleOwn();
}

absl::Status ServerSession::ReadProgress() {
  Progress& progress = *options_.positions.progress;
  // Taken before the table is read: who moves on meanwhile is not set back for it.
  absl::flat_hash_map<OriginId, Lsn> known;
  for (const OriginId& origin : progress.Peers()) {
    known[origin] = progress.CommittedLsn(origin).value_or(Lsn{0});
  }
  ASSIGN_OR_RETURN(const ServerPast::Told told, options_.positions.server_past->Ask(*connection_));
  RETURN_IF_ERROR(options_.positions.server_past->CheckApplied(told));
  for (const AppliedPosition& position : told.applied) {
    const OriginId origin = position.origin;
    if (origin == options_.origin) {
      committed_ = position.lsn;
      progress.ResetCommitted(origin, position.lsn);
      if (!progress.Committed(origin, position.lsn, position.local_after, server_life_)) {
        return absl::UnavailableError("PostgreSQL may have been restarted meanwhile");
      }
      options_.positions.applied->Reset(origin, position.lsn, position.stamp_us,
                                        position.local_after);
      options_.keys->Settle(origin.node, position.local_after);
    } else if (known[origin] > position.lsn) {
      // The server has lost commits that it had not flushed. Others must not lean on them.
      progress.ResetCommitted(origin, position.lsn);
      options_.rewound(origin);
    }
  }
  return absl::OkStatus();
}

// The session before has ended. What it committed last, perhaps, was committed by now or never.
absl::Status ServerSession::SettleOwn() {
  ASSIGN_OR_RETURN(const std::string now, connection_->QueryValue(kWalPositionSql));
  ASSIGN_OR_RETURN(const Lsn local_after, ParseLsn(now));
  options_.keys->Settle(options_.origin.node, local_after);
  return absl::OkStatus();
}

absl::StatusOr<absl::flat_hash_map<uint32_t, NodeId>> ServerSession::ReadOrigins() {
  ASSIGN_OR_RETURN(const Result result,
                   connection_->Exec("SELECT roident, roname FROM pg_replication_origin"));
  const ServerNames& names = *options_.positions.names;
  absl::flat_hash_map<uint32_t, NodeId> node_of_roident;
  for (int row = 0; row < result.rows(); ++row) {
    uint32_t roident = 0;
    if (!absl::SimpleAtoi(result.value(row, 0), &roident)) continue;
    const std::optional<OriginId> origin = names.Parse(result.value(row, 1));
    if (origin.has_value()) {
      node_of_roident[roident] = origin->node;
    } else if (result.value(row, 1) == names.RepairOrigin()) {
      node_of_roident[roident] = 0;
    }
  }
  return node_of_roident;
}

absl::Status ServerSession::StartPipeline(std::function<void()> slow) {
  RETURN_IF_ERROR(connection_->EnterPipeline());
  pipe_ = std::make_unique<Pipe>(connection_.get(), options_.activity);
  pipe_->SetSlow(LockWaits::kAskAfter, std::move(slow));
  return absl::OkStatus();
}

absl::Status ServerSession::Ping() {
  RETURN_IF_ERROR(pipe_->Exec("SELECT"));
  return pipe_->Finish();
}

absl::Status ServerSession::Begin(int64_t newest_us) {
  begun_at_ = SteadyNow();
  if (const uint32_t stable = options_.clocks.stable_xid->Get(); stable != stable_xid_) {
    RETURN_IF_ERROR(pipe_->Exec(absl::StrCat("SET ", kStableXidSetting, " = '", stable, "'")));
    stable_xid_ = stable;
  }
  options_.locks->BeginAttempt();
  in_transaction_ = true;
  RETURN_IF_ERROR(pipe_->Exec("BEGIN"));
  RETURN_IF_ERROR(
      pipe_->Exec(absl::StrCat("SET LOCAL lock_timeout = '",
                               absl::ToInt64Milliseconds(options_.locks->row_timeout()), "ms'")));
  if (BDR_RULE_BROKEN("clock_wait")) return absl::OkStatus();
  return pipe_->Exec(absl::StrCat("SELECT bdr.require_clock_past(",
                                  TimestampSql(options_.clocks.gate->MustHavePassed(newest_us)),
                                  ")"));
}

absl::Status ServerSession::BeginBookkeeping() {
  begun_at_ = SteadyNow();
  in_transaction_ = true;
  return pipe_->Exec("BEGIN");
}

// First all that may fail is answered, and where local WAL stands. Then, since from there on the
// commit may be visible at any moment, the history learns of it; COMMIT goes out with the origin's
// position before it and local WAL's behind it. Last the keys are given up, and progress told.
absl::Status ServerSession::Commit(const CommittedAt& last, KeysInFlight::Registration* keys) {
  options_.activity->Set("commits");
  if (options_.comes_again) BDR_HANG_POINT("apply_commit");
  Lsn before;
  RETURN_IF_ERROR(QueueProgress(last, &before));
  RETURN_IF_ERROR(pipe_->Finish());

  if (options_.comes_again) BDR_FAIL_POINT("apply_before_commit");
  if (last.moves_progress) {
    options_.positions.applied->Begin(options_.origin, last.end_lsn, last.stamp_us, before);
  }
  bool committed = false;
  Lsn after;
  RETURN_IF_ERROR(SendCommit(last, &committed, &after));
  if (const absl::Status status = pipe_->Finish(); !status.ok()) {
    // Refused by the server (a constraint that is checked at commit): an error like any other.
    if (!committed && !connection_->broken() && !absl::IsUnavailable(status)) return status;
    // Whether it was committed is not known: a new session reads it from bdr.progress.
    keys->Commit(Lsn{UINT64_MAX});
    lost_ = true;
    return absl::UnavailableError(absl::StrCat("commit was not confirmed: ", status.message()));
  }
  in_transaction_ = false;
  if (options_.comes_again) {
    BDR_FAIL_POINT("apply_after_commit");
  } else {
    BDR_FAIL_POINT("own_merge_after");
  }
  keys->Commit(after);
  if (!last.moves_progress) return absl::OkStatus();
  committed_ = last.end_lsn;
  options_.positions.applied->Finish(options_.origin, after);
  if (!options_.positions.progress->Committed(options_.origin, last.end_lsn, after, server_life_)) {
    lost_ = true;
    return absl::UnavailableError("PostgreSQL may have been restarted, without the last commit");
  }
  return absl::OkStatus();
}

absl::Status ServerSession::QueueProgress(const CommittedAt& last, Lsn* before) {
  if (last.moves_progress) {
    RETURN_IF_ERROR(pipe_->Exec(
        absl::StrCat("UPDATE bdr.progress SET lsn = '", ToString(last.end_lsn), "', stamp = ",
                     TimestampSql(last.stamp_us), " WHERE origin_node = ", options_.origin.node,
                     " AND origin_incarnation = ", options_.origin.incarnation),
        [](const Result& result) {
          return result.affected() == 1
                     ? absl::OkStatus()
                     : absl::UnavailableError("bdr.progress does not take how far apply has come");
        }));
  }
  return pipe_->Exec(kWalPositionSql, TakeLsn(before));
}

absl::Status ServerSession::SendCommit(const CommittedAt& last, bool* committed, Lsn* after) {
  RETURN_IF_ERROR(
      pipe_->Exec(absl::StrCat("SELECT pg_catalog.pg_replication_origin_xact_setup('",
                               ToString(last.end_lsn), "', ", TimestampSql(last.stamp_us), ")")));
  RETURN_IF_ERROR(pipe_->Exec("COMMIT", [committed](const Result&) {
    *committed = true;
    return absl::OkStatus();
  }));
  return pipe_->Exec(kWalPositionSql, TakeLsn(after));
}

// A session that cannot leave its transaction is as good as lost.
void ServerSession::Rollback() {
  if (pipe_ == nullptr || (!in_transaction_ && pipe_->idle())) return;
  const absl::Status status = pipe_->Rollback();
  in_transaction_ = false;
  // Begin() may have set it within the transaction: nobody knows what the session has now.
  stable_xid_.reset();
  if (status.ok() || connection_->broken()) return;
  lost_ = true;
  LogWarning("apply", {{"origin", ToString(options_.origin)}},
             absl::StrCat("rollback failed: ", status.message()));
}

}  // namespace bdr::agent
