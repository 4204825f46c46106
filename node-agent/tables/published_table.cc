#include "node-agent/tables/published_table.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bdr::agent {

absl::Status CheckPublished(const postgres::TableInfo& table) {
  if (table.published && table.schema != "bdr") return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("table \"", table.DisplayName(),
                   "\" does not replicate here, so its rows are shown to nobody: it is in neither "
                   "publication bdr_keyed nor bdr_insert_only (\"SELECT bdr.sync_publications()\" "
                   "adds tables that can be)"));
}

absl::StatusOr<postgres::TableInfo> LoadPublished(postgres::Connection& connection,
                                                  absl::string_view schema,
                                                  absl::string_view name) {
  ASSIGN_OR_RETURN(postgres::TableInfo table, postgres::LoadTable(connection, schema, name));
  RETURN_IF_ERROR(CheckPublished(table));
  return table;
}

}  // namespace bdr::agent
