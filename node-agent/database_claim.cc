#include "node-agent/database_claim.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bdr::agent {

absl::Status ClaimDatabase(postgres::Connection& connection, const std::string& cluster_id,
                           NodeId node, const std::string& name) {
  const std::string id = absl::StrCat(node);
  const postgres::Param params[] = {{.data = cluster_id}, {.data = id}, {.data = name}};
  RETURN_IF_ERROR(connection
                      .ExecParams("INSERT INTO bdr.node (cluster_id, node_id, name) VALUES "
                                  "($1, $2, $3) ON CONFLICT DO NOTHING",
                                  params)
                      .status());
  ASSIGN_OR_RETURN(const postgres::Result found,
                   connection.Exec("SELECT cluster_id, node_id, name FROM bdr.node"));
  if (found.rows() == 1 && found.value(0, 0) == cluster_id && found.value(0, 1) == id) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "the database belongs to node \"", found.rows() == 1 ? found.value(0, 2) : "?", "\" (id ",
      found.rows() == 1 ? found.value(0, 1) : "?",
      found.rows() == 1 && found.value(0, 0) != cluster_id ? ", of another cluster" : "",
      "), whose agent this one would fight with: each node has a database of its own. If that node "
      "is gone for good, or the database was copied from it, let a superuser run DELETE FROM "
      "bdr.node"));
}

}  // namespace bdr::agent
