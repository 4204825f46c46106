// The SQL that an administrator runs once on a database before it can be a node.
//
// Everything that needs a superuser is in here, so that the agent itself can run as a plain role:
// its rights are this script and nothing else. The script is repeatable: running it again changes
// only what differs, so it is also the way to mend a node after someone changed it by hand.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bdr::pg_setup {

// The publications which carry changes: tables with a key, and tables without one (inserts only,
// since publishing updates of those would make the users' own UPDATE and DELETE fail).
inline constexpr char kKeyedPublication[] = "bdr_keyed";
inline constexpr char kInsertOnlyPublication[] = "bdr_insert_only";

// Enough for a cluster of a dozen nodes: one slot for capture, one replication origin for each
// peer's incarnation (before PostgreSQL 18 both count against max_replication_slots), some spare.
inline constexpr int kWantedReplicationSlots = 20;
inline constexpr int kWantedWalSenders = 20;

// What a running server has set.
struct ServerSettings {
  std::string wal_level = "";
  bool track_commit_timestamp = false;
  int max_replication_slots = 0;
  int max_wal_senders = 0;
};

struct SetupOptions {
  std::string role = "bdr";
  // False leaves out the ALTER SYSTEM statements. They cannot run inside a transaction block, so
  // only without them the script works as one multi-statement query (one PQexec).
  bool settings = true;
  // What the server has now, so that only what differs is set. Unknown: wal_level and
  // track_commit_timestamp are set in any case, and of the others the script itself warns, since
  // setting them blindly could lower them.
  std::optional<ServerSettings> current = std::nullopt;
};

// Plain SQL without meta commands, for psql -f. kInvalidArgument if the role's name has characters
// other than letters, digits, '_' and '-', is too long, or is reserved (pg_...).
absl::StatusOr<std::string> SetupSql(const SetupOptions& options);

}  // namespace bdr::pg_setup
