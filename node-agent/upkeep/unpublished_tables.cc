#include "node-agent/upkeep/unpublished_tables.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "postgres/setup/published_tables_sql.h"

namespace bdr::agent {
namespace {

using postgres::Result;

// Many tables take long to look at: that is not to be all that the server does.
constexpr absl::Duration kInterval = absl::Seconds(5);
constexpr absl::Duration kLongestInterval = absl::Seconds(30);
constexpr int kIdleShare = 50;
// Users who want to write wait behind our wish to keep them out for so long at most.
constexpr char kLockTimeout[] = "SET LOCAL lock_timeout = '200ms'";
constexpr int kLockAttempts = 3;
constexpr absl::Duration kTellHeldRows = absl::Minutes(10);
constexpr size_t kMostNamed = 5;

constexpr char kRemedy[] = "have an administrator run SELECT bdr.sync_publications()";

std::string Some(const std::vector<std::string>& names) {
  const size_t shown = std::min(names.size(), kMostNamed);
  const std::string text =
      absl::StrJoin(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), ", ");
  return shown == names.size() ? text : absl::StrCat(text, " and ", names.size() - shown, " more");
}

std::string HeldRowsText(absl::string_view tables) {
  return absl::StrCat("held rows already when published, and these do not travel: ", tables,
                      ": \"bdrctl verify\" shows whether nodes differ, --repair makes them equal");
}

}  // namespace

absl::Status UnpublishedTables::Look(postgres::Connection* connection, uint64_t xmin,
                                     uint64_t xmax) {
  const absl::Time start = SteadyNow();
  // A transaction between the two may end without moving either.
  const bool idle = xmin == xmin_ && xmax == xmax_ && xmin == xmax;
  if (start < next_ || (idle && lock_attempts_ == 0)) return absl::OkStatus();
  xmin_ = xmin;
  xmax_ = xmax;
  next_ = start + kInterval;
  const absl::Status status = LookNow(connection);
  if (status.ok()) return status;
  if (connection->broken()) return status;
  (void)connection->Exec("ROLLBACK");
  xmax_ = 0;
  Tell(std::string(status.message()));
  return absl::OkStatus();
}

// Rights are looked at only where all tables are in their places, as putting them there gives the
// rights as well. The time of the next look is set before anything is published: what fails then
// sets an earlier one.
absl::Status UnpublishedTables::LookNow(postgres::Connection* connection) {
  ASSIGN_OR_RETURN(
      const std::string gone,
      connection->QueryValue("SELECT coalesce(string_agg(p, ', '), '') FROM"
                             " unnest('{bdr_keyed,bdr_insert_only}'::text[]) AS p"
                             " WHERE NOT EXISTS (SELECT FROM pg_publication WHERE pubname = p)"));
  if (!gone.empty()) {
    lock_attempts_ = 0;
    Tell(absl::StrCat("there is no publication ", gone,
                      ": have an administrator run what \"bdrctl node setup-sql\" prints"));
    return absl::OkStatus();
  }
  const absl::Time start = SteadyNow();
  ASSIGN_OR_RETURN(const Result found,
                   connection->Exec(absl::StrCat(
                       "WITH ", pg_setup::PublishedTablesCtes(),
                       " SELECT oid, format('%I.%I', nspname, relname), true FROM wanted"
                       " WHERE oid NOT IN (SELECT oid FROM present) UNION ALL"
                       " SELECT oid, format('%I.%I', nspname, relname), false FROM"
                       " (SELECT * FROM present EXCEPT SELECT * FROM wanted) AS gone ORDER BY 2")));
  std::vector<Table> missing;
  std::vector<std::string> misplaced;
  for (int i = 0; i < found.rows(); ++i) {
    const std::string name(found.value(i, 1));
    if (found.value(i, 2) == "t") {
      missing.push_back({.oid = std::string(found.value(i, 0)), .name = name});
    } else {
      misplaced.push_back(name);
    }
  }
  if (missing.empty() && misplaced.empty()) RETURN_IF_ERROR(GiveMissingRights(connection));
  const absl::Time end = SteadyNow();
  next_ = end + std::clamp(kIdleShare * (end - start), kInterval, kLongestInterval);
  std::vector<std::string> reasons;
  if (!misplaced.empty()) {
    reasons.push_back(absl::StrCat(
        "in the wrong publication, since their key or kind was changed: ", Some(misplaced), ": ",
        kRemedy));
  }
  if (!missing.empty()) {
    ASSIGN_OR_RETURN(std::string reason,
                     PublishOrTell(connection, missing, /*alone=*/misplaced.empty()));
    if (!reason.empty()) reasons.push_back(std::move(reason));
  } else {
    lock_attempts_ = 0;
  }
  Tell(absl::StrJoin(reasons, "; "));
  return absl::OkStatus();
}

// Why they are still not published; empty if they are.
absl::StatusOr<std::string> UnpublishedTables::PublishOrTell(postgres::Connection* connection,
                                                             const std::vector<Table>& missing,
                                                             bool alone) {
  std::vector<std::string> names;
  for (const Table& table : missing) names.push_back(table.name);
  const std::string text = absl::StrCat("not published, so nothing of them travels: ", Some(names));
  if (!publish_) {
    return absl::StrCat(text, ": ", kRemedy, ", or set publish_new_tables in agent.yaml to true");
  }
  if (!alone) return text;
  const absl::Status published = Publish(connection, missing);
  if (published.ok()) return std::string();
  if (connection->broken()) return published;
  RETURN_IF_ERROR(connection->Exec("ROLLBACK").status());
  next_ = SteadyNow() + kInterval;
  return absl::StrCat(text, ": ", published.message(), ": ", kRemedy);
}

// A partition was attached, or somebody took rights away.
absl::Status UnpublishedTables::GiveMissingRights(postgres::Connection* connection) {
  ASSIGN_OR_RETURN(
      const std::string lacking,
      connection->QueryValue(absl::StrCat(
          "WITH ", pg_setup::PublishedTablesCtes(),
          " SELECT EXISTS (SELECT FROM wanted w JOIN tree t ON t.root = w.oid, unnest('{SELECT,"
          "INSERT,UPDATE,DELETE,TRUNCATE}'::text[]) AS p WHERE NOT has_table_privilege(t.oid,"
          " p)) OR EXISTS (SELECT FROM relatives f WHERE NOT has_table_privilege(f.oid,"
          " 'SELECT'))")));
  return lacking == "t" ? GiveRights(connection) : absl::OkStatus();
}

// Fails where more would be published than was looked at, or less: rows that such a table holds
// would not travel, and nobody would say so.
absl::Status UnpublishedTables::Sync(postgres::Connection* connection, size_t most_added) {
  ASSIGN_OR_RETURN(const Result done, connection->Exec("SELECT bdr.sync_publications()"));
  size_t added = 0;
  for (int i = 0; i < done.rows(); ++i) {
    if (absl::StrContains(done.value(i, 0), " ADD TABLE ")) ++added;
    // A key was dropped since we looked.
    if (added > most_added || absl::StrContains(done.value(i, 0), " DROP TABLE ")) {
      return absl::AbortedError("tables are being changed");
    }
  }
  return connection->Exec("COMMIT").status();
}

absl::Status UnpublishedTables::GiveRights(postgres::Connection* connection) {
  RETURN_IF_ERROR(connection->Exec("BEGIN").status());
  const absl::Status given = Sync(connection, /*most_added=*/0);
  if (given.ok()) {
    LogInfo("publication", {{"state", "rights_given"}});
    return given;
  }
  if (connection->broken() || !absl::IsAborted(given)) return given;
  return connection->Exec("ROLLBACK").status();
}

absl::Status UnpublishedTables::Publish(postgres::Connection* connection,
                                        const std::vector<Table>& tables) {
  const bool keep_out = ++lock_attempts_ <= kLockAttempts;
  RETURN_IF_ERROR(connection->Exec("BEGIN").status());
  RETURN_IF_ERROR(connection->Exec(kLockTimeout).status());
  std::vector<std::string> held_rows;
  for (const Table& table : tables) {
    if (!keep_out) {
      held_rows.push_back(table.name);
      continue;
    }
    RETURN_IF_ERROR(
        connection->Exec(absl::StrCat("SELECT bdr.keep_writers_out(", table.oid, ")")).status());
    ASSIGN_OR_RETURN(const std::string rows, connection->QueryValue(absl::StrCat(
                                                 "SELECT pg_relation_size(", table.oid,
                                                 ") > 0 OR coalesce((SELECT sum(pg_relation_size("
                                                 "relid)) FROM pg_partition_tree(",
                                                 table.oid, ")), 0) > 0")));
    if (rows == "t") held_rows.push_back(table.name);
  }
  RETURN_IF_ERROR(Sync(connection, tables.size()));
  lock_attempts_ = 0;
  for (const Table& table : tables) {
    LogInfo("publication", {{"table", table.name}, {"state", "published"}});
  }
  if (held_rows.empty()) return absl::OkStatus();
  LogWarning("publication", {}, HeldRowsText(absl::StrJoin(held_rows, ", ")));
  MutexLock lock(&mu_);
  for (std::string& name : held_rows) {
    held_rows_.push_back({.name = std::move(name), .at = SteadyNow()});
  }
  return absl::OkStatus();
}

void UnpublishedTables::Tell(const std::string& reason) {
  MutexLock lock(&mu_);
  if (reason == reason_) return;
  if (!reason.empty()) LogWarning("publication", {}, reason);
  if (reason_.empty()) since_ = absl::Now();
  reason_ = reason;
}

Health UnpublishedTables::health() const {
  MutexLock lock(&mu_);
  if (!reason_.empty()) {
    return {.level = Health::Level::kWarning,
            .state = "unpublished",
            .reason = reason_,
            .since = since_};
  }
  std::vector<std::string> names;
  absl::Time first = absl::InfiniteFuture();
  const absl::Time now = SteadyNow();
  for (const Published& table : held_rows_) {
    if (now - table.at > kTellHeldRows) continue;
    names.push_back(table.name);
    first = std::min(first, table.at);
  }
  if (names.empty()) return {};
  return {.level = Health::Level::kWarning,
          .state = "published_late",
          .reason = HeldRowsText(Some(names)),
          .since = absl::Now() - (now - first)};
}

}  // namespace bdr::agent
