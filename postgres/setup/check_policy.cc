#include "postgres/setup/check_policy.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "postgres/catalog.h"
#include "postgres/setup/checks.h"

namespace bdr::pg_setup {
namespace {

using postgres::Param;
using postgres::QuoteIdentifier;
using postgres::Result;

// The table itself, and what a partitioned one consists of: PostgreSQL writes an old row to the WAL
// by the identity of the partition, and pgoutput calls it one by that of the root.
constexpr char kIdentitySql[] = R"(
SELECT n.nspname, c.relname
  FROM (SELECT $1::pg_catalog.oid AS oid
        UNION SELECT relid FROM pg_catalog.pg_partition_tree($1::pg_catalog.oid::regclass)
               WHERE isleaf) AS t
  JOIN pg_catalog.pg_class c ON c.oid = t.oid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relreplident <> 'f'
 ORDER BY 1, 2)";

constexpr char kUniqueSql[] = R"(
SELECT i.indexrelid::pg_catalog.regclass::pg_catalog.text, o.conname
  FROM pg_catalog.pg_index i
  LEFT JOIN pg_catalog.pg_constraint o
         ON o.conindid = i.indexrelid AND o.contype IN ('p', 'u', 'x') AND o.conrelid = i.indrelid
 WHERE i.indrelid = $1::pg_catalog.oid AND (i.indisunique OR i.indisexclusion)
   AND NOT i.indisprimary
 ORDER BY 1)";

constexpr char kCheckSql[] = R"(
SELECT o.conname FROM pg_catalog.pg_constraint o
  JOIN pg_catalog.pg_attribute a ON a.attrelid = o.conrelid AND a.attnum = ANY (o.conkey)
 WHERE o.conrelid = $1::pg_catalog.oid AND o.contype = 'c' AND a.attname = $2
 ORDER BY 1)";

constexpr char kFunctionSql[] = R"(
SELECT p.provolatile = 'i', pg_catalog.has_function_privilege(p.oid, 'EXECUTE'),
       pg_catalog.has_schema_privilege(n.oid, 'USAGE'), p.prorettype = $3::pg_catalog.oid,
       bdr.is_trusted(p.proowner), pg_catalog.pg_get_userbyid(p.proowner)
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname = $1 AND p.proname = $2 AND p.prokind = 'f' AND p.pronargs = 3
   AND p.proargtypes[0] = $3::pg_catalog.oid AND p.proargtypes[1] = $3::pg_catalog.oid
   AND p.proargtypes[2] = 'pg_catalog.jsonb'::pg_catalog.regtype)";

bool IsNumber(uint32_t type_oid) {
  constexpr uint32_t kNumbers[] = {20, 21, 23, 700, 701, 1700};
  return std::find(std::begin(kNumbers), std::end(kNumbers), type_oid) != std::end(kNumbers);
}

absl::Status CheckShape(postgres::Connection& connection, const postgres::TableInfo& table,
                        Findings& findings) {
  const std::string name = table.QualifiedName();
  if (!table.published) {
    findings.Error(absl::StrCat("table ", name, " does not replicate here"),
                   "SELECT bdr.sync_publications()");
  }
  if (!table.has_key) {
    findings.Error(
        absl::StrCat("table ", name, " has no primary key, so its rows cannot be merged"),
        absl::StrCat("ALTER TABLE ", name, " ADD PRIMARY KEY (...)"));
  }
  const std::string oid = absl::StrCat(table.oid);
  ASSIGN_OR_RETURN(const Result identity,
                   connection.ExecParams(kIdentitySql, {Param{.data = oid}}));
  for (int i = 0; i < identity.rows(); ++i) {
    const std::string part = absl::StrCat(QuoteIdentifier(identity.value(i, 0)), ".",
                                          QuoteIdentifier(identity.value(i, 1)));
    findings.Error(absl::StrCat("changes of ", part, " do not carry the row that they replace"),
                   absl::StrCat("ALTER TABLE ", part, " REPLICA IDENTITY FULL"));
  }
  ASSIGN_OR_RETURN(const Result unique, connection.ExecParams(kUniqueSql, {Param{.data = oid}}));
  for (int i = 0; i < unique.rows(); ++i) {
    findings.Error(absl::StrCat("table ", name, " has a further unique constraint beside its key, ",
                                unique.value(i, 0), ": merged rows might violate it"),
                   unique.is_null(i, 1) ? absl::StrCat("DROP INDEX ", unique.value(i, 0))
                                        : absl::StrCat("ALTER TABLE ", name, " DROP CONSTRAINT ",
                                                       QuoteIdentifier(unique.value(i, 1))));
  }
  return absl::OkStatus();
}

absl::Status CheckDelta(postgres::Connection& connection, const postgres::TableInfo& table,
                        const PolicyWish& wish, Findings& findings) {
  const std::string name = table.QualifiedName();
  if (wish.columns.empty()) findings.Error("policy delta needs the names of its columns");
  for (const std::string& wanted : wish.columns) {
    const auto column = std::find_if(table.columns.begin(), table.columns.end(),
                                     [&](const auto& c) { return c.name == wanted; });
    if (column == table.columns.end()) {
      findings.Error(absl::StrCat("table ", name, " has no column \"", wanted, "\""),
                     absl::StrCat("ALTER TABLE ", name, " ADD COLUMN ", QuoteIdentifier(wanted),
                                  " bigint NOT NULL DEFAULT 0"));
      continue;
    }
    if (!IsNumber(column->type->oid) || column->generated) {
      findings.Error(absl::StrCat("column \"", wanted, "\" of table ", name, " is no plain number"),
                     absl::StrCat("ALTER TABLE ", name, " ALTER COLUMN ", QuoteIdentifier(wanted),
                                  " TYPE bigint"));
    }
    if (column->key_position >= 0) {
      findings.Error(absl::StrCat("column \"", wanted, "\" is part of the key of table ", name));
    }
    const std::string oid = absl::StrCat(table.oid);
    ASSIGN_OR_RETURN(const Result checks,
                     connection.ExecParams(kCheckSql, {Param{.data = oid}, Param{.data = wanted}}));
    for (int i = 0; i < checks.rows(); ++i) {
      findings.Error(absl::StrCat("constraint \"", checks.value(i, 0), "\" checks column \"",
                                  wanted, "\": each increment may keep to it, and their sum not"),
                     absl::StrCat("ALTER TABLE ", name, " DROP CONSTRAINT ",
                                  QuoteIdentifier(checks.value(i, 0))));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckFunction(postgres::Connection& connection, const postgres::TableInfo& table,
                           const PolicyWish& wish, Findings& findings) {
  const std::pair<std::string, std::string> name =
      absl::StrSplit(wish.function, absl::MaxSplits('.', 1));
  if (name.first.empty() || name.second.empty()) {
    findings.Error("policy custom needs its function as schema.name");
    return absl::OkStatus();
  }
  const std::string type = table.QualifiedName();
  const std::string quoted =
      absl::StrCat(QuoteIdentifier(name.first), ".", QuoteIdentifier(name.second));
  const std::string signature = absl::StrCat(quoted, "(", type, ", ", type, ", jsonb)");
  const std::string row_type = absl::StrCat(table.row_type_oid);
  ASSIGN_OR_RETURN(
      const Result found,
      connection.ExecParams(kFunctionSql, {Param{.data = name.first}, Param{.data = name.second},
                                           Param{.data = row_type}}));
  const std::string create =
      absl::StrCat("CREATE FUNCTION ", quoted, "(older ", type, ", newer ", type,
                   ", info jsonb) RETURNS ", type, " LANGUAGE ... IMMUTABLE AS ...");
  if (found.rows() == 0) {
    findings.Error(absl::StrCat("there is no function ", signature), create);
    return absl::OkStatus();
  }
  if (found.value(0, 3) != "t") {
    findings.Error(absl::StrCat("function ", signature, " does not return a row of ", type),
                   create);
  }
  if (found.value(0, 0) != "t") {
    findings.Error(absl::StrCat("function ", signature,
                                " is not declared IMMUTABLE: nodes could get different rows"),
                   absl::StrCat("ALTER FUNCTION ", signature, " IMMUTABLE"));
  }
  if (found.value(0, 1) != "t" || found.value(0, 2) != "t") {
    findings.Error(absl::StrCat("the agent's role may not execute function ", signature),
                   absl::StrCat("GRANT EXECUTE ON FUNCTION ", signature,
                                " TO bdr; GRANT USAGE ON "
                                "SCHEMA ",
                                QuoteIdentifier(name.first), " TO bdr"));
  }
  if (found.value(0, 4) != "t") {
    findings.Error(
        absl::StrCat("function ", signature, " belongs to role \"", found.value(0, 5),
                     "\", which is not trusted: it would run with the rights of the "
                     "agent"),
        absl::StrCat("SELECT bdr.trust_owner(", postgres::QuoteLiteral(found.value(0, 5)), ")"));
  }
  for (const postgres::ColumnInfo& column : table.columns) {
    if (column.type->has_binary || column.generated) continue;
    findings.Error(absl::StrCat("column \"", column.name,
                                "\" has a type without a binary form, so "
                                "that rows of ",
                                type, " cannot be given to a function"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Finding>> CheckPolicy(postgres::Connection& connection,
                                                 const PolicyWish& wish) {
  Findings findings;
  const absl::StatusOr<postgres::TableInfo> table =
      postgres::LoadTable(connection, wish.schema, wish.table);
  if (absl::IsNotFound(table.status())) {
    findings.Error(absl::StrCat("there is no table \"", wish.schema, ".", wish.table, "\""));
    return findings.Take();
  }
  RETURN_IF_ERROR(table.status());
  if (wish.policy == "last_update_wins") return findings.Take();
  RETURN_IF_ERROR(CheckShape(connection, *table, findings));
  if (wish.policy == "delta") RETURN_IF_ERROR(CheckDelta(connection, *table, wish, findings));
  if (wish.policy == "custom") RETURN_IF_ERROR(CheckFunction(connection, *table, wish, findings));
  return findings.Take();
}

}  // namespace bdr::pg_setup
