// Triggers, constraints, domains and the like run with the rights of whoever writes. Those whose
// owner is not trusted keep changes from being applied; the rest is named by other checks.
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "postgres/setup/checks.h"

namespace bdr::pg_setup {
namespace {

constexpr char kPublished[] = R"sql(
    SELECT format('changes of other nodes to table %s are not applied: code of role "%s" would run '
                  'with the rights of the agent: %s', w.oid::regclass, c.owner, c.what),
           format('SELECT bdr.trust_owner(%L)', c.owner)
    FROM wanted w CROSS JOIN LATERAL bdr.untrusted_code(w.oid, false) c ORDER BY 1)sql";

constexpr char kTrusted[] = R"sql(
    SELECT format('role "%s" is trusted by "%s" since %s: its triggers, constraints and the like '
                  'run with the rights of the agent', o.name, o.consented_by,
                  date_trunc('second', o.consented_at)),
           format('SELECT bdr.distrust_owner(%L)', o.name)
    FROM bdr.trusted_owner o ORDER BY 1)sql";

}  // namespace

absl::Status CheckOwnersCode(postgres::Connection& connection, Findings& findings) {
  ASSIGN_OR_RETURN(const bool known, MayAskForOwners(connection));
  if (!known) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string ctes, TablesCtes(connection));
  ASSIGN_OR_RETURN(const postgres::Result published,
                   connection.Exec(absl::StrCat("WITH ", ctes, kPublished)));
  for (int i = 0; i < published.rows(); ++i) {
    findings.TableError(std::string(published.value(i, 0)), std::string(published.value(i, 1)));
  }
  ASSIGN_OR_RETURN(const postgres::Result trusted, connection.Exec(kTrusted));
  for (int i = 0; i < trusted.rows(); ++i) {
    findings.Warning(std::string(trusted.value(i, 0)), std::string(trusted.value(i, 1)));
  }
  return absl::OkStatus();
}

}  // namespace bdr::pg_setup
