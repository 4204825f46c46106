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
