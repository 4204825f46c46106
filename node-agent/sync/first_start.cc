#include "node-agent/sync/first_start.h"

#include "absl/strings/str_cat.h"

namespace bdr::agent {

absl::Status CheckNoPastOf(const Member& member) {
  if (member.incarnation == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("data_dir is empty, but node \"", member.name,
                   "\" has been a member with one: bring it back, as with a new one the node "
                   "would skip what it has missed"));
}

absl::Status DatabaseHasAPast(const AppliedPosition& position) {
  return absl::FailedPreconditionError(absl::StrCat(
      "bdr.progress says that this database has applied transactions of node ",
      position.origin.node, " up to ", ToString(position.lsn),
      ", and data_dir is empty: the database was a node before, here or where it was copied from, "
      "and would skip what it has missed. Bring the data_dir back; for a new node whose tables "
      "are equal to the others', first remove what that life has left: DROP SCHEMA bdr CASCADE, "
      "pg_drop_replication_slot() of its slot and pg_replication_origin_drop() of its "
      "replication origins, whose names begin as the slot's does (bdr_CLUSTER_NUMBER_; other "
      "nodes on this server need theirs), then \"bdrctl node setup-sql\""));
}

}  // namespace bdr::agent
