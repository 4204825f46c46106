#include "postgres/owners_code.h"

#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bdr::postgres {
namespace {

// The stamp comes first: what changes after it is seen by the look, or changes the stamp. None
// where only superusers could change anything.
constexpr char kLoadSql[] = R"(
WITH RECURSIVE tree AS (
       SELECT $1::pg_catalog.oid AS relid
        UNION SELECT h.inhrelid FROM pg_catalog.pg_inherits h
                JOIN tree ON tree.relid = h.inhparent
                JOIN pg_catalog.pg_class p ON p.oid = h.inhrelid
               WHERE p.relispartition)
SELECT c.relowner,
       CASE WHEN EXISTS (SELECT FROM tree JOIN pg_catalog.pg_class p ON p.oid = tree.relid
                           JOIN pg_catalog.pg_roles r ON r.oid = p.relowner
                          WHERE NOT r.rolsuper)
            THEN bdr.code_stamp(c.oid) ELSE '' END
  FROM pg_catalog.pg_class c WHERE c.oid = $1::pg_catalog.oid)";

constexpr char kFindSql[] =
    "SELECT owner, what FROM bdr.untrusted_code($1::pg_catalog.oid, $2::pg_catalog.bool) LIMIT 1";

absl::StatusOr<std::string> Find(Connection& connection, const TableInfo& table, bool for_users) {
  const std::string oid = absl::StrCat(table.oid);
  const Param params[] = {{.data = oid}, {.data = for_users ? "t" : "f"}};
  ASSIGN_OR_RETURN(const Result found, connection.ExecKept(kFindSql, params));
  if (found.rows() == 0) return std::string();
  const std::string owner(found.value(0, 0));
  return absl::StrCat(
      "code of role \"", owner, "\" would run with the rights of the agent: ", found.value(0, 1),
      "; take it away, or, if that role may be trusted with every replicated table of this "
      "database, let a superuser run: SELECT bdr.trust_owner(",
      QuoteLiteral(owner), ")");
}

absl::Status Denied(const TableInfo& table, absl::string_view why) {
  return absl::PermissionDeniedError(
      absl::StrCat("rows of table \"", table.DisplayName(), "\" are not written: ", why));
}

}  // namespace

absl::Status LoadOwnersCode(Connection& connection, TableInfo* table) {
  const std::string oid = absl::StrCat(table->oid);
  ASSIGN_OR_RETURN(const Result loaded, connection.ExecKept(kLoadSql, {Param{.data = oid}}));
  if (loaded.rows() == 0 || !absl::SimpleAtoi(loaded.value(0, 0), &table->owner)) {
    return absl::NotFoundError(absl::StrCat("there is no table \"", table->DisplayName(), "\""));
  }
  table->code_stamp = std::string(loaded.value(0, 1));
  ASSIGN_OR_RETURN(table->untrusted_code, Find(connection, *table, /*for_users=*/false));
  return absl::OkStatus();
}

absl::Status MayRunCode(const TableInfo& table) {
  return table.untrusted_code.empty() ? absl::OkStatus() : Denied(table, table.untrusted_code);
}

absl::Status LockOwnersCode(Connection& connection, const TableInfo& table, bool for_users) {
  RETURN_IF_ERROR(connection
                      .Exec(absl::StrCat("LOCK TABLE ", table.kind == 'p' ? "" : "ONLY ",
                                         table.QualifiedName(), " IN ROW EXCLUSIVE MODE"))
                      .status());
  ASSIGN_OR_RETURN(const std::string found, Find(connection, table, for_users));
  return found.empty() ? absl::OkStatus() : Denied(table, found);
}

}  // namespace bdr::postgres
