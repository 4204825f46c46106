#include "ctl/sequence_nodes.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace bdr::ctl {
namespace {

constexpr char kLockTimeout[] = "SET lock_timeout = '200ms'";
// As long as the session lives. A session of a bdrctl that was killed ends with its statement.
constexpr char kLockConversions[] =
    "SET lock_timeout = '5s'; SELECT pg_advisory_lock(1111773779, 1)";
constexpr absl::string_view kConversionsLocked = "55P03";

// What another conversion has looked at would no longer be so.
absl::Status LockConversions(SequenceNode& node) {
  const absl::Status locked = node.connection->Exec(kLockConversions).status();
  if (postgres::Sqlstate(locked) != kConversionsLocked) return OnNode(node, locked);
  return absl::FailedPreconditionError(absl::StrCat(
      "another conversion of sequences is under way on node \"", node.name,
      "\": run this again when it has ended; who it is shows SELECT a.* FROM pg_locks l JOIN "
      "pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.classid = 1111773779"));
}

// The number of a sequence and where the method's numbers begin are bdr-server's to say, and no
// database can check them: who may write them can make ids come twice, in others' tables, too. So
// no owner may, and nothing here runs with a superuser's rights for an owner.
absl::Status CheckSuperuser(SequenceNode& node) {
  const auto row = node.connection->Exec(
      "SELECT r.rolsuper, r.rolname FROM pg_roles r WHERE r.rolname = current_user");
  if (!row.ok()) return OnNode(node, row.status());
  if (row->rows() == 1 && row->value(0, 0) == "t") return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat(
      "the connection given for node \"", node.name, "\" is role \"",
      row->rows() == 1 ? row->value(0, 1) : "",
      "\", which is no superuser: a conversion writes to schema bdr, where nothing can check what "
      "an owner of tables would write, and a wrong number makes ids come twice; give --database a "
      "superuser's connection, or let a superuser run what --print-sql prints"));
}

// Before a node has joined its database knows nothing of it; and a schema that is too old has no
// such table.
absl::Status CheckIsNodes(SequenceNode& node, const std::string& cluster_id, bool to_read) {
  const auto known =
      node.connection->QueryValue("SELECT cluster_id || ' ' || node_id FROM bdr.node");
  if (known.ok() && *known == absl::StrCat(cluster_id, " ", node.id)) return absl::OkStatus();
  if (to_read && absl::IsPermissionDenied(known.status())) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "the database given for node \"", node.name, "\" is not its: it ",
      known.ok() ? absl::StrCat("belongs to node ", *known) : std::string(known.status().message()),
      "; give another --database"));
}

}  // namespace

absl::Status OnNode(const SequenceNode& node, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat("node \"", node.name, "\": ", status.message()));
}

absl::StatusOr<std::vector<SequenceNode>> OpenSequenceNodes(
    const v1::Membership& membership, const std::map<std::string, std::string>& databases,
    bool to_read) {
  std::vector<SequenceNode> nodes;
  for (const v1::Member& member : membership.members()) {
    SequenceNode node{.name = member.name(), .id = member.node_id()};
    ASSIGN_OR_RETURN(node.connection,
                     postgres::Connection::Connect(
                         {.conninfo = databases.at(member.name()), .application_name = "bdrctl"}));
    if (!to_read) RETURN_IF_ERROR(CheckSuperuser(node));
    RETURN_IF_ERROR(CheckIsNodes(node, membership.cluster_id(), to_read));
    if (!to_read) RETURN_IF_ERROR(LockConversions(node));
    RETURN_IF_ERROR(node.connection->Exec(kLockTimeout).status());
    nodes.push_back(std::move(node));
  }
  return nodes;
}

}  // namespace bdr::ctl
