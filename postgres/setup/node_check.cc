#include "postgres/setup/node_check.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "postgres/setup/checks.h"
#include "postgres/setup/published_tables_sql.h"

namespace bdr::pg_setup {
namespace {

absl::Status RunChecks(postgres::Connection& connection, const CheckOptions& options,
                       Findings& findings) {
  // Names come out qualified, and nobody's own functions or operators are called.
  RETURN_IF_ERROR(connection.Exec("SET LOCAL search_path = pg_catalog").status());
  std::string role = options.role;
  if (role.empty()) {
    ASSIGN_OR_RETURN(role, connection.QueryValue("SELECT current_user"));
  }
  RETURN_IF_ERROR(CheckServer(connection, findings));
  RETURN_IF_ERROR(CheckRights(connection, role, findings));
  RETURN_IF_ERROR(CheckPublications(connection, role, findings));
  RETURN_IF_ERROR(CheckRowSecurity(connection, role, findings));
  if (options.running) return absl::OkStatus();
  RETURN_IF_ERROR(CheckPlaces(connection, role, findings));
  RETURN_IF_ERROR(CheckObjects(connection, findings));
  RETURN_IF_ERROR(CheckOwnersCode(connection, findings));
  RETURN_IF_ERROR(CheckFunctions(connection, findings));
  return CheckColumns(connection, findings);
}

}  // namespace

absl::StatusOr<bool> MayAskForOwners(postgres::Connection& connection) {
  // By the catalog: a name in a schema that one may not look into is an error.
  ASSIGN_OR_RETURN(const std::string found,
                   connection.QueryValue(
                       "SELECT EXISTS (SELECT FROM pg_namespace n"
                       " JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = 'untrusted_code'"
                       "  AND p.pronargs = 2 AND p.proargtypes[0] = 'oid'::regtype"
                       "  AND p.proargtypes[1] = 'bool'::regtype"
                       " JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'trusted_owner'"
                       " WHERE n.nspname = 'bdr' AND has_schema_privilege(n.oid, 'USAGE')"
                       " AND has_table_privilege(c.oid, 'SELECT'))"));
  return found == "t";
}

absl::StatusOr<std::string> TablesCtes(postgres::Connection& connection) {
  ASSIGN_OR_RETURN(const bool known, MayAskForOwners(connection));
  return PublishedTablesCtes(known);
}

std::string NameSome(const std::vector<std::string>& names) {
  constexpr size_t kNamed = 10;
  if (names.size() <= kNamed) return absl::StrJoin(names, ", ");
  return absl::StrCat(absl::StrJoin(absl::MakeConstSpan(names).first(kNamed), ", "), " and ",
                      names.size() - kNamed, " more");
}

absl::StatusOr<std::vector<Finding>> CheckNode(postgres::Connection& connection,
                                               const CheckOptions& options) {
  if (PQtransactionStatus(connection.raw()) != PQTRANS_IDLE) {
    return absl::FailedPreconditionError(
        "cannot check the node: the connection is inside a transaction; use one of its own");
  }
  Findings findings;
  RETURN_IF_ERROR(
      connection.Exec("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").status());
  const absl::Status checked = RunChecks(connection, options, findings);
  const absl::Status ended = connection.Exec("ROLLBACK").status();
  RETURN_IF_ERROR(checked);
  RETURN_IF_ERROR(ended);
  return findings.Take();
}

Finding::Level WorstLevel(const std::vector<Finding>& findings) {
  Finding::Level worst = Finding::Level::kOk;
  for (const Finding& finding : findings) worst = std::max(worst, finding.level);
  return worst;
}

}  // namespace bdr::pg_setup
