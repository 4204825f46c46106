#include "node-agent/apply/session/lock_waits.h"

#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "node-agent/tables/lock_holders.h"

namespace bdr::agent {
namespace {

using postgres::Result;

constexpr absl::Duration kLongestRowTimeout = absl::Seconds(8);
// While one holder is known to stay, another try is only to see what else can be done.
constexpr absl::Duration kShortRowTimeout = absl::Milliseconds(100);
constexpr absl::Duration kLongestTableTimeout = absl::Seconds(1);

// Where the table is that AtTable() was told of.
constexpr char kTablePayload[] = "bdr/locked_table";
constexpr char kDisplayPayload[] = "bdr/locked_table_display";

std::string Milliseconds(absl::Duration duration) {
  return absl::StrCat("'", absl::ToInt64Milliseconds(duration), "ms'");
}

}  // namespace

absl::Status AtTable(absl::Status status, absl::string_view name, absl::string_view display) {
  if (IsLockTimeout(status)) {
    status.SetPayload(kTablePayload, absl::Cord(name));
    status.SetPayload(kDisplayPayload, absl::Cord(display));
  }
  return status;
}

bool IsLockTimeout(const absl::Status& status) { return postgres::Sqlstate(status) == "55P03"; }

absl::Duration LockWaits::row_timeout() const { return brief_ ? kShortRowTimeout : row_timeout_; }

absl::Duration LockWaits::table_timeout() const {
  return brief_ ? kFirstTableTimeout : table_timeout_;
}

absl::Status LockWaits::QueueTableLock(Pipe* pipe, absl::string_view name,
                                       absl::string_view display, uint32_t table_oid,
                                       absl::string_view mode) {
  auto locked = std::make_shared<bool>(false);
  tables_.push_back({.oid = absl::StrCat(table_oid),
                     .display = std::string(display),
                     .mode = std::string(mode),
                     .locked = locked});
  RETURN_IF_ERROR(
      pipe->Exec(absl::StrCat("SET LOCAL lock_timeout = ", Milliseconds(table_timeout()))));
  RETURN_IF_ERROR(
      pipe->Exec(absl::StrCat("LOCK TABLE ", name, " IN ", mode, " MODE"), [locked](const Result&) {
        *locked = true;
        return absl::OkStatus();
      }));
  return pipe->Exec(absl::StrCat("SET LOCAL lock_timeout = ", Milliseconds(row_timeout())));
}

absl::StatusOr<postgres::Connection*> LockWaits::Session() {
  if (session_ == nullptr || session_->broken()) {
    ASSIGN_OR_RETURN(session_, postgres::Connection::Connect(
                                   {.conninfo = conninfo_, .application_name = application_name_}));
    RETURN_IF_ERROR(session_
                        ->Exec("SET search_path = pg_catalog; SET statement_timeout = '5s'; "
                               "SET DateStyle = 'ISO'; SET TimeZone = 'UTC'; SET jit = off")
                        .status());
  }
  return session_.get();
}

void LockWaits::AskAbout(int backend_pid) {
  // Without an answer the lock is waited for all the same, and nothing is named.
  if (!LookAtWait(backend_pid).ok()) session_ = nullptr;
}

// What is waited for, and of those who are in the way only who holds it: others wait as well. Of a
// row the table shows in the lock on the tuple that comes before that on its last writer.
absl::Status LockWaits::LookAtWait(int backend_pid) {
  ASSIGN_OR_RETURN(postgres::Connection * session, Session());
  ASSIGN_OR_RETURN(
      const Result waits,
      session->Exec(absl::StrCat(
          "SELECT w.locktype, w.mode, COALESCE(w.relation, (SELECT o.relation FROM pg_locks o "
          "WHERE o.pid = w.pid AND o.granted AND o.locktype = 'tuple' LIMIT 1))::regclass::text, "
          "(SELECT string_agg(DISTINCT c.oid::regclass::text, ', ') FROM pg_locks o JOIN pg_class "
          "c "
          "ON c.oid = o.relation WHERE o.pid = w.pid AND o.granted AND o.mode = 'RowExclusiveLock' "
          "AND c.relkind IN ('r', 'p') AND c.relnamespace <> 'bdr'::regnamespace) "
          "FROM pg_locks w WHERE w.pid = ",
          backend_pid, " AND NOT w.granted")));
  if (waits.rows() == 0) {
    holders_.clear();
    reason_.clear();
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(
      const Result holders,
      session->Exec(absl::StrCat(
          "WITH w AS (SELECT * FROM pg_locks WHERE NOT granted AND pid = ", backend_pid,
          "), h AS (SELECT g.virtualtransaction, g.pid FROM pg_locks g JOIN w ON "
          "g.locktype = w.locktype AND g.granted AND ROW(g.database, g.relation, g.page, g.tuple, "
          "g.virtualxid, g.transactionid, g.classid, g.objid, g.objsubid) IS NOT DISTINCT FROM "
          "ROW(w.database, w.relation, w.page, w.tuple, w.virtualxid, w.transactionid, w.classid, "
          "w.objid, w.objsubid) WHERE g.pid IS DISTINCT FROM ",
          backend_pid, " AND COALESCE(g.pid, 0) = ANY (pg_blocking_pids(", backend_pid, ")))",
          kLockHoldersSql)));
  const std::string kind(waits.value(0, 0));
  const std::string table(waits.value(0, 2));
  const std::string tables(waits.value(0, 3));
  std::string what;
  if (kind == "relation") {
    what = absl::StrCat(waits.value(0, 1), " on table \"", table, "\"");
  } else if (!table.empty()) {
    what = absl::StrCat("a row of table \"", table, "\"");
  } else {
    what = absl::StrCat("a row that another transaction writes, of table \"", tables, "\"");
  }
  Take(holders, what);
  return absl::OkStatus();
}

absl::Status LockWaits::LookAtTable(const TableTried& table, int backend_pid) {
  ASSIGN_OR_RETURN(postgres::Connection * session, Session());
  absl::string_view conflicts = "";
  if (table.mode == "ACCESS SHARE") {
    conflicts = " AND mode = 'AccessExclusiveLock'";
  } else if (table.mode != "ACCESS EXCLUSIVE") {
    conflicts = " AND mode NOT IN ('AccessShareLock', 'RowShareLock')";
  }
  // pg_partition_tree() would itself wait for the locks.
  ASSIGN_OR_RETURN(
      const Result holders,
      session->Exec(absl::StrCat(
          "WITH RECURSIVE tree AS (SELECT ", table.oid,
          "::oid AS relid UNION SELECT i.inhrelid FROM pg_inherits i JOIN tree ON tree.relid = "
          "i.inhparent JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relispartition), h AS (SELECT "
          "virtualtransaction, pid FROM pg_locks WHERE granted AND locktype = 'relation' AND "
          "database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND "
          "relation IN (SELECT relid FROM tree) AND pid IS DISTINCT FROM ",
          backend_pid, conflicts, ")", kLockHoldersSql)));
  Take(holders, absl::StrCat("lock ", table.mode, " on table \"", table.display, "\""));
  return absl::OkStatus();
}

void LockWaits::Take(const Result& result, absl::string_view what) {
  std::vector<std::string> told;
  holders_.clear();
  for (int row = 0; row < result.rows(); ++row) {
    holders_.emplace_back(result.value(row, 0));
    told.emplace_back(result.value(row, 1));
  }
  std::sort(holders_.begin(), holders_.end());
  asked_ = true;
  reason_ = absl::StrCat("for ", what);
  if (!told.empty()) absl::StrAppend(&reason_, ", held by ", absl::StrJoin(told, " and "));
}

void LockWaits::TimedOut(const absl::Status& status, int backend_pid) {
  const auto payload = [&status](const char* url) {
    return std::string(status.GetPayload(url).value_or(absl::Cord()));
  };
  if (const std::string name = payload(kTablePayload); !name.empty()) {
    asked_ = false;
    tables_ = {{.oid = absl::StrCat("to_regclass(", postgres::QuoteLiteral(name), ")"),
                .display = payload(kDisplayPayload),
                .mode = "ACCESS SHARE",
                .locked = std::make_shared<bool>(false)}};
  }
  const auto table = std::find_if(tables_.begin(), tables_.end(),
                                  [](const TableTried& tried) { return !*tried.locked; });
  const bool of_table = !asked_ && table != tables_.end();
  if (of_table && !LookAtTable(*table, backend_pid).ok()) session_ = nullptr;
  if (reason_.empty()) reason_ = "for a lock that somebody holds";
  // Where it was somebody else each time, it takes longer for its turn to come.
  if (!brief_ && of_table) table_timeout_ = std::min(2 * table_timeout_, kLongestTableTimeout);
  if (!brief_ && !of_table) row_timeout_ = std::min(2 * row_timeout_, kLongestRowTimeout);
  asked_ = false;
}

bool LockWaits::StillThere() {
  if (holders_.empty()) return true;
  const absl::StatusOr<postgres::Connection*> session = Session();
  if (!session.ok()) return true;
  const absl::StatusOr<std::string> held = (*session)->QueryValue(
      absl::StrCat("SELECT EXISTS (SELECT FROM pg_locks WHERE granted AND virtualtransaction IN ('",
                   absl::StrJoin(holders_, "', '"), "'))"));
  if (held.ok()) return *held == "t";
  session_ = nullptr;
  return true;
}

void LockWaits::Passed() {
  session_ = nullptr;
  reason_.clear();
  holders_.clear();
  asked_ = brief_ = false;
  row_timeout_ = kFirstRowTimeout;
  table_timeout_ = kFirstTableTimeout;
}

}  // namespace bdr::agent
