#include "node-agent/apply/foreign_keys/foreign_key_actions.h"

#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/thread_name.h"
#include "node-agent/apply/foreign_keys/foreign_keys.h"
#include "postgres/owners_code.h"

namespace bdr::agent {
namespace {

using postgres::QuoteIdentifier;
using postgres::QuoteLiteral;
using postgres::Result;

constexpr absl::Duration kInterval = absl::Seconds(10);  // what failed is tried again
constexpr absl::Duration kRetry = absl::Milliseconds(500);
constexpr int kAtATime = 100;

// The row that references, found by its key and only while it references nothing: SQL on
// "child" and $1, the row as it was found.
std::string StillOrphaned(const ForeignKey& key) {
  std::vector<std::string> equal;
  for (const ForeignKey::KeyColumn& column : key.child_key) {
    const std::string name = QuoteIdentifier(column.name);
    equal.push_back(absl::StrCat("child.", name, " ", column.op, " was.", name));
  }
  return absl::StrCat(absl::StrJoin(equal, " AND "), " AND ", key.OrphanCondition("child"));
}

std::string Was(const ForeignKey& key, absl::string_view row) {
  std::vector<std::string> columns;
  for (const ForeignKey::KeyColumn& column : key.child_key) columns.push_back(column.name);
  return absl::StrCat(RowOfSql(key.child.Type(), row, columns), " AS was");
}

std::string ActionSql(const ForeignKey& key, ForeignKeyPolicy policy, const std::string& child,
                      const std::string& parent) {
  const std::string was = Was(key, absl::StrCat(QuoteLiteral(child), "::pg_catalog.jsonb"));
  switch (policy) {
    case ForeignKeyPolicy::kCascade:
      return absl::StrCat("DELETE FROM ", key.child.Only(), " AS child USING ", was, " WHERE ",
                          StillOrphaned(key));
    case ForeignKeyPolicy::kSetNull: {
      std::vector<std::string> set;
      for (const ForeignKey::Pair& pair : key.pairs) {
        set.push_back(absl::StrCat(QuoteIdentifier(pair.child_column), " = NULL"));
      }
      return absl::StrCat("UPDATE ", key.child.Only(), " AS child SET ", absl::StrJoin(set, ", "),
                          " FROM ", was, " WHERE ", StillOrphaned(key));
    }
    case ForeignKeyPolicy::kRestoreParent: {
      std::vector<std::string> columns;
      for (const std::string& column : key.parent_columns)
        columns.push_back(QuoteIdentifier(column));
      const std::string list = absl::StrJoin(columns, ", ");
      return absl::StrCat(
          "INSERT INTO ", key.parent.Type(), " (", list, ") OVERRIDING SYSTEM VALUE SELECT ", list,
          " FROM pg_catalog.jsonb_populate_record(NULL::", key.parent.Type(), ", ",
          QuoteLiteral(parent), "::pg_catalog.jsonb) WHERE EXISTS (SELECT FROM ", key.child.Only(),
          " AS child, ", was, " WHERE ", StillOrphaned(key), ") ON CONFLICT DO NOTHING");
    }
    case ForeignKeyPolicy::kLog:
      break;
  }
  return "SELECT";
}

std::string StillOrphanedSql(const ForeignKey& key, ForeignKeyPolicy policy,
                             const std::string& child) {
  if (policy == ForeignKeyPolicy::kLog) return "SELECT false";
  return absl::StrCat("SELECT EXISTS (SELECT FROM ", key.child.Only(), " AS child, ",
                      Was(key, absl::StrCat(QuoteLiteral(child), "::pg_catalog.jsonb")), " WHERE ",
                      StillOrphaned(key), ")");
}

}  // namespace

ForeignKeyActions::ForeignKeyActions(std::string conninfo) : conninfo_(std::move(conninfo)) {
  thread_ = std::thread([this] {
    NameThread("bdr-fk-actions");
    Run();
  });
}

ForeignKeyActions::~ForeignKeyActions() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    woken_.NotifyAll();
  }
  thread_.join();
}

void ForeignKeyActions::Wake() {
  MutexLock lock(&mu_);
  wake_ = true;
  woken_.NotifyAll();
}

std::string ForeignKeyActions::failing() const {
  MutexLock lock(&mu_);
  return failing_;
}

uint64_t ForeignKeyActions::done() const {
  MutexLock lock(&mu_);
  return done_;
}

void ForeignKeyActions::Run() {
  while (true) {
    {
      MutexLock lock(&mu_);
      const absl::Time until = SteadyNow() + kInterval;
      while (!wake_ && !stopping_ && SteadyNow() < until) {
        woken_.WaitFor(&mu_, until - SteadyNow());
      }
      if (stopping_) return;
      wake_ = false;
    }
    const absl::Status status = WorkOff();
    if (status.ok()) {
      if (!told_.empty()) LogInfo("foreign_key", {{"state", "connected"}});
      told_.clear();
      continue;
    }
    connection_.reset();
    // One line for each cause, not for each attempt.
    if (told_ != status.message()) LogWarning("foreign_key", {}, status.message());
    told_ = std::string(status.message());
    MutexLock lock(&mu_);
    if (!stopping_) woken_.WaitFor(&mu_, kRetry);
    wake_ = true;
  }
}

// What is due, some at a time, each in a transaction of its own: one that fails is put off and
// keeps its cause, and the next ones go on. Last, the oldest cause that is left, for status.
absl::Status ForeignKeyActions::WorkOff() {
  if (connection_ == nullptr) {
    ASSIGN_OR_RETURN(connection_,
                     postgres::Connection::Connect(
                         {.conninfo = conninfo_, .application_name = "bdr foreign keys"}));
    RETURN_IF_ERROR(connection_->Exec("SET lock_timeout = '10s'").status());
  }
  while (true) {
    ASSIGN_OR_RETURN(const Result due, connection_->Exec(absl::StrCat(
                                           "SELECT id, error FROM bdr.fk_action WHERE next_try <= "
                                           "clock_timestamp() ORDER BY id LIMIT ",
                                           kAtATime)));
    for (int i = 0; i < due.rows(); ++i) {
      {
        MutexLock lock(&mu_);
        if (stopping_) return absl::OkStatus();
      }
      int64_t id = 0;
      if (!absl::SimpleAtoi(due.value(i, 0), &id)) return absl::InternalError("a bad id");
      const absl::Status status = Act(id);
      if (connection_->broken()) return status;
      if (status.ok()) continue;
      RETURN_IF_ERROR(connection_->Exec("ROLLBACK").status());
      // One line for each cause, not for each attempt.
      if (due.is_null(i, 1) || due.value(i, 1) != status.message()) {
        LogWarning("foreign_key", {{"action", id}, {"state", "failed"}}, status.message());
      }
      RETURN_IF_ERROR(
          connection_
              ->Exec(absl::StrCat(
                  "UPDATE bdr.fk_action SET error = ", QuoteLiteral(std::string(status.message())),
                  ", next_try = clock_timestamp() + interval '10 s' WHERE id = ", id))
              .status());
    }
    if (due.rows() < kAtATime) break;
  }
  ASSIGN_OR_RETURN(const Result failed,
                   connection_->Exec("SELECT coalesce((SELECT error FROM bdr.fk_action WHERE error "
                                     "IS NOT NULL ORDER BY id LIMIT 1), '')"));
  MutexLock lock(&mu_);
  failing_ = std::string(failed.value(0, 0));
  return absl::OkStatus();
}

// The action's line goes first, in the same transaction: if it is gone, somebody else was here.
// What a policy asks for is written under the rights of those whose code it runs (LockOwnersCode),
// and looked at again before the commit, as a trigger may leave it out without an error.
absl::Status ForeignKeyActions::Act(int64_t id) {
  RETURN_IF_ERROR(connection_->Exec("BEGIN").status());
  ASSIGN_OR_RETURN(
      const Result action,
      connection_->Exec(absl::StrCat("DELETE FROM bdr.fk_action WHERE id = ", id,
                                     " RETURNING policy, foreign_key, child, parent, (SELECT "
                                     "string_agg(quote_ident(k), ', ') FROM "
                                     "jsonb_object_keys(parent -> '') AS k)")));
  if (action.rows() == 1) {
    const ForeignKeyPolicy policy = ParseForeignKeyPolicy(action.value(0, 0));
    ASSIGN_OR_RETURN(const ForeignKey key, ParseForeignKey(std::string(action.value(0, 1))));
    // A parent whose content nobody here saw is restored by the node that did: the child's own.
    const bool possible = policy != ForeignKeyPolicy::kRestoreParent || !action.is_null(0, 3);
    if (possible && policy == ForeignKeyPolicy::kRestoreParent && !action.is_null(0, 4)) {
      return absl::FailedPreconditionError(absl::StrCat(
          "cannot restore the row of \"", key.parent.DisplayName(), "\" that \"", key.name,
          "\" references: bdr.fk_action does not hold the value of ", action.value(0, 4),
          " as it was (its column parent, member \"\", says why); insert it by hand and delete "
          "row ",
          id, " of bdr.fk_action"));
    }
    if (possible) {
      const ForeignKey::Table& written =
          policy == ForeignKeyPolicy::kRestoreParent ? key.parent : key.child;
      ASSIGN_OR_RETURN(const postgres::TableInfo table,
                       postgres::LoadTable(*connection_, written.schema, written.name));
      RETURN_IF_ERROR(postgres::LockOwnersCode(*connection_, table, /*for_users=*/true));
      RETURN_IF_ERROR(connection_
                          ->Exec(ActionSql(key, policy, std::string(action.value(0, 2)),
                                           std::string(action.value(0, 3))))
                          .status());
      // A trigger that returns NULL leaves a row out without an error.
      ASSIGN_OR_RETURN(
          const std::string orphaned,
          connection_->QueryValue(StillOrphanedSql(key, policy, std::string(action.value(0, 2)))));
      if (orphaned == "t") {
        return absl::FailedPreconditionError(
            absl::StrCat("a row of ", key.child.Only(),
                         " still references nothing after what the policy asks "
                         "for: a trigger or another unique value keeps that from being written"));
      }
    }
  }
  RETURN_IF_ERROR(connection_->Exec("COMMIT").status());
  MutexLock lock(&mu_);
  ++done_;
  return absl::OkStatus();
}

}  // namespace bdr::agent
