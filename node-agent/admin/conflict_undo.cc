#include "node-agent/admin/conflict_undo.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "bdr/v1/admin.pb.h"
#include "conflict/conflict_kind.h"
#include "node-agent/admin/conflict_queries.h"
#include "node-agent/tables/column_map.h"
#include "node-agent/tables/published_table.h"
#include "node-agent/tables/row_sql.h"
#include "postgres/catalog.h"
#include "postgres/owners_code.h"

namespace bdr::agent {
namespace {

using conflict::ConflictKind;
using conflict::Winner;
using postgres::QuoteIdentifier;
using postgres::QuoteLiteral;
using postgres::Result;
using postgres::TableInfo;

// The conflict log names a table as schema.name, either of which may hold a dot.
absl::StatusOr<TableInfo> FindTable(postgres::Connection& connection, const std::string& display) {
  const postgres::Param params[] = {{.data = display}};
  ASSIGN_OR_RETURN(const Result found,
                   connection.ExecParams(
                       "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid ="
                       " c.relnamespace WHERE n.nspname || '.' || c.relname = $1::text AND"
                       " c.relkind IN ('r', 'p')",
                       params));
  if (found.rows() != 1) {
    return absl::NotFoundError(absl::StrCat("table \"", display, "\" is not here any more"));
  }
  ASSIGN_OR_RETURN(TableInfo table,
                   LoadPublished(connection, found.value(0, 0), found.value(0, 1)));
  if (table.has_key) return table;
  return absl::FailedPreconditionError(
      absl::StrCat("table \"", display, "\" has no key to find the row by"));
}

// Expression of a row of the table's type, from a parameter that holds jsonb.
std::string FromJson(const TableInfo& table, int parameter) {
  return absl::StrCat("jsonb_populate_record(NULL::", table.QualifiedName(), ", $", parameter,
                      "::text::jsonb)");
}

// "t.k1 = w.k1 AND ...": the row named by w.
std::string SameKey(const TableInfo& table) {
  std::vector<std::string> terms;
  for (const int index : table.key) {
    const postgres::ColumnInfo& column = table.columns[index];
    const std::string name = QuoteIdentifier(column.name);
    terms.push_back(
        absl::StrCat("t.", name, CollateSql(column), " ", KeyOperator(column), " w.", name));
  }
  return absl::StrJoin(terms, " AND ");
}

// What is to stand there again, and by which columns it can be told whether it does.
struct Plan {
  TableInfo table;
  v1::Conflict conflict;
  bool target_present = false;
  std::string target;             // jsonb
  std::string winner;             // jsonb of what the conflict left behind; "" for no row
  std::set<std::string> unknown;  // columns of the loser that did not travel
  std::set<std::string> winner_unknown;
};

Plan MakePlan(TableInfo table, const v1::Conflict& conflict) {
  Plan plan;
  plan.table = std::move(table);
  plan.conflict = conflict;
  const bool local_won = conflict.winner() == ToString(Winner::kLocal);
  plan.target = local_won ? conflict.remote_row() : conflict.local_row();
  plan.winner = local_won ? conflict.local_row() : conflict.remote_row();
  plan.target_present = !plan.target.empty();
  const std::set<std::string> absent(conflict.remote_absent().begin(),
                                     conflict.remote_absent().end());
  (local_won ? plan.unknown : plan.winner_unknown) = absent;
  return plan;
}

nlohmann::json Parse(const std::string& text) {
  return nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
}

// Columns whose values bdr.row_as_jsonb() could not hold as they were. `lost`: only those of which
// it holds nothing, so that they cannot even be compared.
std::vector<std::string> NotHeld(const std::string& row, bool lost = false) {
  std::vector<std::string> names;
  const nlohmann::json parsed = Parse(row);
  if (!parsed.is_object() || !parsed.contains("")) return names;
  for (const auto& [name, reason] : parsed[""].items()) {
    const bool as_text =
        reason.is_string() && absl::StartsWith(reason.get<std::string>(), "held as text");
    if (!lost || !as_text) names.push_back(name);
  }
  return names;
}

// Whether two rows are the same in the columns that are known of both: generated ones are computed,
// and do not travel; one that was added later says nothing. PostgreSQL compares, since numbers may
// have more digits than fit here.
absl::StatusOr<bool> SameRow(postgres::Connection& connection, const TableInfo& table,
                             const std::string& one, const std::string& other,
                             const std::set<std::string>& unknown) {
  if (one.empty() || other.empty()) return one.empty() == other.empty();
  const nlohmann::json a = Parse(one);
  const nlohmann::json b = Parse(other);
  if (!a.is_object() || !b.is_object()) {
    return absl::InternalError("bdr.conflict_log holds a row that is none");
  }
  std::vector<std::string> ignored(unknown.begin(), unknown.end());
  for (const postgres::ColumnInfo& column : table.columns) {
    if (column.generated) ignored.push_back(column.name);
  }
  for (const auto& [name, value] : a.items()) {
    if (!b.contains(name)) ignored.push_back(name);
  }
  for (const auto& [name, value] : b.items()) {
    if (!a.contains(name)) ignored.push_back(name);
  }
  const std::string ignored_text = ArrayLiteral(ignored);
  const postgres::Param params[] = {{.data = one}, {.data = other}, {.data = ignored_text}};
  ASSIGN_OR_RETURN(const std::string same,
                   connection.QueryValue("SELECT $1::text::jsonb - $3::text[] = "
                                         "$2::text::jsonb - $3::text[]",
                                         params));
  return same == "t";
}

// The row that stands at the conflict's key now, locked if it is to be written; "" for none.
absl::StatusOr<std::string> CurrentRow(postgres::Connection& connection, const Plan& plan,
                                       bool lock) {
  const postgres::Param params[] = {{.data = plan.conflict.key()}};
  ASSIGN_OR_RETURN(
      const Result row,
      connection.ExecParams(absl::StrCat("SELECT bdr.row_as_jsonb(t.*) FROM ", FromSql(plan.table),
                                         " JOIN ", FromJson(plan.table, 1), " AS w ON ",
                                         SameKey(plan.table), lock ? " FOR UPDATE OF t" : ""),
                            params));
  return row.rows() == 0 ? std::string() : std::string(row.value(0, 0));
}

// Columns of the loser that can be written: known, there on this table, not computed.
std::vector<const postgres::ColumnInfo*> Writable(const Plan& plan) {
  const nlohmann::json target = Parse(plan.target);
  std::vector<const postgres::ColumnInfo*> columns;
  for (const postgres::ColumnInfo& column : plan.table.columns) {
    if (column.generated || plan.unknown.contains(column.name)) continue;
    if (target.is_object() && target.contains(column.name)) columns.push_back(&column);
  }
  return columns;
}

absl::Status NotAsItWas(absl::string_view columns) {
  return absl::FailedPreconditionError(
      absl::StrCat("the conflict log does not hold the values of ", columns,
                   " in a form that can be written back as it was; write the row by hand"));
}

// A value that JSON cannot hold as it was (the bounds of an array, say) must not be written back as
// another: what JSON gives must be the same JSON again.
absl::Status CheckRoundTrip(postgres::Connection& connection, const Plan& plan) {
  if (const std::vector<std::string> not_held = NotHeld(plan.target); !not_held.empty()) {
    return NotAsItWas(absl::StrJoin(not_held, ", "));
  }
  std::vector<std::string> differs;
  for (const postgres::ColumnInfo* column : Writable(plan)) {
    const std::string name = QuoteLiteral(column->name);
    differs.push_back(absl::StrCat("CASE WHEN to_jsonb(w.*)->", name, " IS DISTINCT FROM ",
                                   "$1::text::jsonb->", name, " THEN ", name, "::text END"));
  }
  if (differs.empty()) return absl::OkStatus();
  const postgres::Param params[] = {{.data = plan.target}};
  ASSIGN_OR_RETURN(
      const std::string columns,
      connection.QueryValue(absl::StrCat("SELECT concat_ws(', ', ", absl::StrJoin(differs, ", "),
                                         ") FROM ", FromJson(plan.table, 1), " AS w"),
                            params));
  return columns.empty() ? absl::OkStatus() : NotAsItWas(columns);
}

// The row is locked, so that only the table itself can leave it out.
absl::Status MustBeOne(const absl::StatusOr<Result>& written) {
  if (!written.ok()) return written.status();
  if (written->affected() == 1) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "a trigger or rule of the table left the row out: nothing was written; let it pass the row "
      "and repeat");
}

absl::Status WriteRow(postgres::Connection& connection, const Plan& plan,
                      v1::UndoConflictResponse::Action action) {
  const postgres::Param params[] = {{.data = plan.conflict.key()}, {.data = plan.target}};
  const absl::Span<const postgres::Param> key_only(params, 1);
  std::string sql;
  if (action == v1::UndoConflictResponse::DELETE) {
    sql = absl::StrCat("DELETE FROM ", FromSql(plan.table), " USING ", FromJson(plan.table, 1),
                       " AS w WHERE ", SameKey(plan.table));
    return MustBeOne(connection.ExecParams(sql, key_only));
  }
  std::vector<std::string> names, values, sets;
  bool identity_changes = false;
  for (const postgres::ColumnInfo* column : Writable(plan)) {
    const std::string name = QuoteIdentifier(column->name);
    names.push_back(name);
    values.push_back(absl::StrCat("v.", name));
    if (column->identity_always) {
      identity_changes = true;  // which no UPDATE can set: it keeps its value
      continue;
    }
    sets.push_back(absl::StrCat(name, " = v.", name));
  }
  if (action == v1::UndoConflictResponse::INSERT) {
    sql = absl::StrCat("INSERT INTO ", plan.table.QualifiedName(), " (", absl::StrJoin(names, ", "),
                       ") OVERRIDING SYSTEM VALUE SELECT ", absl::StrJoin(values, ", "), " FROM ",
                       FromJson(plan.table, 1), " AS v");
    const postgres::Param row[] = {params[1]};
    return MustBeOne(connection.ExecParams(sql, row));
  }
  if (sets.empty()) {
    return absl::FailedPreconditionError(
        identity_changes ? "only identity columns differ, which no UPDATE can set"
                         : "there is no column to write");
  }
  sql = absl::StrCat("UPDATE ", FromSql(plan.table), " SET ", absl::StrJoin(sets, ", "), " FROM ",
                     FromJson(plan.table, 1), " AS w, ", FromJson(plan.table, 2), " AS v WHERE ",
                     SameKey(plan.table));
  return MustBeOne(connection.ExecParams(sql, params));
}

// What will stand there: of an update, the columns that are not known keep what they have.
absl::StatusOr<std::string> TargetRow(postgres::Connection& connection, const Plan& plan,
                                      const std::string& current) {
  if (!plan.target_present) return std::string();
  if (plan.unknown.empty()) return plan.target;
  const std::string unknown =
      ArrayLiteral(std::vector<std::string>(plan.unknown.begin(), plan.unknown.end()));
  const std::string now = current.empty() ? "{}" : current;
  const postgres::Param params[] = {{.data = plan.target}, {.data = now}, {.data = unknown}};
  return connection.QueryValue(
      "SELECT ($1::text::jsonb - $3::text[]) || coalesce((SELECT jsonb_object_agg(key, value) FROM"
      " jsonb_each($2::text::jsonb) WHERE key = ANY ($3::text[])), '{}')",
      params);
}

// Refuses what somebody has written since, unless he who asks knows of it.
absl::Status CheckUnchanged(const std::string& current, const v1::UndoConflictRequest& request,
                            const v1::UndoConflictResponse& response) {
  if (current != request.expected_row()) {
    return absl::FailedPreconditionError(
        "the row was written since it was shown; look again and repeat");
  }
  if (response.changed_since() && !request.force()) {
    return absl::FailedPreconditionError(
        "the row was written since the conflict was decided; --force overwrites it all the same");
  }
  return absl::OkStatus();
}

absl::Status Apply(postgres::Connection& connection, const Plan& plan,
                   const v1::UndoConflictRequest& request, v1::UndoConflictResponse* response) {
  RETURN_IF_ERROR(WriteRow(connection, plan, response->action()));
  RETURN_IF_ERROR(connection
                      .Exec(absl::StrCat("UPDATE bdr.conflict_log SET undone_at = "
                                         "clock_timestamp() WHERE id = ",
                                         request.id()))
                      .status());
  response->set_applied(true);
  return absl::OkStatus();
}

// First what stands and what would stand are told, so that also a refusal shows them; then what is
// to be done; and it is done last, if that was asked for and the row, locked since it was read, is
// still the one that was shown.
absl::Status Decide(postgres::Connection& connection, const Plan& plan,
                    const v1::UndoConflictRequest& request, v1::UndoConflictResponse* response) {
  ASSIGN_OR_RETURN(const std::string current, CurrentRow(connection, plan, request.apply()));
  response->set_current_row(current);
  ASSIGN_OR_RETURN(const std::string target, TargetRow(connection, plan, current));
  response->set_target_row(target);
  ASSIGN_OR_RETURN(const bool as_left,
                   SameRow(connection, plan.table, current, plan.winner, plan.winner_unknown));
  response->set_changed_since(!as_left || !NotHeld(plan.winner, /*lost=*/true).empty());
  ASSIGN_OR_RETURN(const bool stands,
                   SameRow(connection, plan.table, current, plan.target, plan.unknown));
  if (stands && NotHeld(plan.target, /*lost=*/true).empty()) {
    response->set_action(v1::UndoConflictResponse::NOTHING);
    return absl::OkStatus();
  }
  response->set_action(!plan.target_present ? v1::UndoConflictResponse::DELETE
                       : current.empty()    ? v1::UndoConflictResponse::INSERT
                                            : v1::UndoConflictResponse::UPDATE);
  if (response->action() == v1::UndoConflictResponse::INSERT && !plan.unknown.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the loser's values of ", absl::StrJoin(plan.unknown, ", "),
        " did not travel, since it had not changed them, and no row stands here that has them; "
        "REPLICA IDENTITY FULL on the table makes them travel"));
  }
  if (plan.target_present) RETURN_IF_ERROR(CheckRoundTrip(connection, plan));
  if (!request.apply()) return absl::OkStatus();
  RETURN_IF_ERROR(CheckUnchanged(current, request, *response));
  return Apply(connection, plan, request, response);
}

}  // namespace

absl::Status UndoConflict(postgres::Connection& connection, const v1::UndoConflictRequest& request,
                          v1::UndoConflictResponse* response) {
  RETURN_IF_ERROR(GetConflict(connection, request.id(), response->mutable_conflict()));
  const v1::Conflict& conflict = response->conflict();
  if (conflict.key().empty()) {
    return absl::FailedPreconditionError("the conflict has no key: there is nothing to write");
  }
  if (conflict.kind() == ToString(ConflictKind::kColumnMissing) ||
      conflict.kind() == ToString(ConflictKind::kTableMissing)) {
    return absl::FailedPreconditionError(
        "the values were left out since their column or table is gone: there is nothing to write "
        "them to");
  }
  ASSIGN_OR_RETURN(TableInfo table, FindTable(connection, conflict.table()));
  const Plan plan = MakePlan(std::move(table), conflict);
  RETURN_IF_ERROR(connection.Exec(request.apply() ? "BEGIN READ WRITE" : "BEGIN").status());
  absl::Status status = postgres::LockOwnersCode(connection, plan.table, /*for_users=*/true);
  if (status.ok()) status = Decide(connection, plan, request, response);
  const bool commit = status.ok() && response->applied();
  const absl::Status ended = connection.Exec(commit ? "COMMIT" : "ROLLBACK").status();
  if (!ended.ok()) response->set_applied(false);
  return status.ok() ? ended : status;
}

}  // namespace bdr::agent
