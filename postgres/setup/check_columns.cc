#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "postgres/catalog.h"
#include "postgres/setup/checks.h"
#include "postgres/setup/published_tables_sql.h"
#include "postgres/type_names.h"

namespace bdr::pg_setup {
namespace {

void CheckTable(const postgres::TableInfo& table, Findings& findings) {
  for (const postgres::ColumnInfo& column : table.columns) {
    if (column.key_position >= 0 && column.generated) {
      findings.Warning(
          absl::StrCat("key column \"", column.name, "\" of table ", table.QualifiedName(),
                       " is generated, and PostgreSQL sends no values of generated columns: "
                       "changes of the table stop at every other node"),
          absl::StrCat("ALTER TABLE ", table.QualifiedName(), " ALTER COLUMN ",
                       postgres::QuoteIdentifier(column.name), " DROP EXPRESSION"));
    }
    if (column.key_position >= 0 && !column.key_canonical) {
      findings.Error(absl::StrCat(
          "key column \"", column.name, "\" of table ", table.QualifiedName(), " has type ",
          postgres::TypeNameForPeople(*column.type),
          ", of which equal values can differ in their bytes: take another type for the key, or "
          "another key"));
    }
    if (column.key_position >= 0 && column.generated) {
      findings.Error(absl::StrCat(
          "key column \"", column.name, "\" of table ", table.QualifiedName(),
          " is generated, and does not travel with changes: no other node could tell which row "
          "they are of; take an ordinary column for the key"));
    }
    if (column.type->receives) continue;
    const bool compound = column.type->kind != postgres::TypeInfo::Kind::kPlain;
    findings.Warning(absl::StrCat(
        "column \"", column.name, "\" of table ", table.QualifiedName(), " has type ",
        postgres::TypeNameForPeople(*column.type), " without a binary form: ",
        compound ? "PostgreSQL cannot send such values in binary, so for each transaction that "
                   "has one the stream is started anew, and all values are read as text"
                 : "rows of the table are written more slowly"));
  }
}

}  // namespace

absl::Status CheckColumns(postgres::Connection& connection, Findings& findings) {
  ASSIGN_OR_RETURN(
      const postgres::Result rows,
      connection.Exec(absl::StrCat("WITH ", kPublishedTablesCtes,
                                   " SELECT nspname, relname FROM wanted ORDER BY 1, 2")));
  for (int i = 0; i < rows.rows(); ++i) {
    ASSIGN_OR_RETURN(const postgres::TableInfo table,
                     postgres::LoadTable(connection, rows.value(i, 0), rows.value(i, 1)));
    CheckTable(table, findings);
  }
  return absl::OkStatus();
}

}  // namespace bdr::pg_setup
