#include "node-agent/sync/database_claim.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bdr::agent {

absl::StatusOr<std::optional<DatabaseOwner>> ReadDatabaseOwner(postgres::Connection& connection) {
  ASSIGN_OR_RETURN(const postgres::Result found,
                   connection.Exec("SELECT cluster_id, node_id, name FROM bdr.node"));
  if (found.rows() == 0) return std::nullopt;
  return DatabaseOwner{.cluster_id = std::string(found.value(0, 0)),
                       .node_id = std::string(found.value(0, 1)),
                       .name = std::string(found.value(0, 2))};
}

absl::Status AnothersDatabase(const DatabaseOwner& owner, const std::string& cluster_id) {
  return absl::FailedPreconditionError(absl::StrCat(
      "the database belongs to node \"", owner.name, "\" (id ", owner.node_id,
      owner.cluster_id != cluster_id ? ", of another cluster" : "",
      "), whose agent this one would fight with: each node has a database of its own. If that node "
      "is gone for good, or the database was copied from it, let a superuser run DELETE FROM "
      "bdr.node"));
}

absl::Status ClaimDatabase(postgres::Connection& connection, const std::string& cluster_id,
                           NodeId node, const std::string& name) {
  const std::string id = absl::StrCat(node);
  const postgres::Param params[] = {{.data = cluster_id}, {.data = id}, {.data = name}};
  RETURN_IF_ERROR(connection
                      .ExecParams("INSERT INTO bdr.node (cluster_id, node_id, name) VALUES "
                                  "($1, $2, $3) ON CONFLICT DO NOTHING",
                                  params)
                      .status());
  ASSIGN_OR_RETURN(const std::optional<DatabaseOwner> owner, ReadDatabaseOwner(connection));
  if (!owner.has_value()) {
    return absl::UnavailableError("somebody deleted the row of bdr.node at this moment");
  }
  if (owner->cluster_id == cluster_id && owner->node_id == id) return absl::OkStatus();
  return AnothersDatabase(*owner, cluster_id);
}

}  // namespace bdr::agent
