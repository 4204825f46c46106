#include "node-agent/capture/commit_origins.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"

namespace bdr::agent {
namespace {

// Between the WAL record of a commit and its being visible there is no wait but for a standby.
constexpr absl::Duration kUntilCommitted = absl::Seconds(30);
constexpr absl::Duration kBetweenAttempts = absl::Seconds(1);

}  // namespace

bool CommitOrigins::StaysHere(absl::string_view origin) {
  if (options_.forward_foreign && !ForeignOrigins::IsOurs(origin)) return false;
  options_.foreign_origins->Dropped(origin);
  return true;
}

// The name of its replication origin, empty if it had none. A commit can be decoded before the
// server has noted its time and origin, which come behind its record in the WAL, and before it
// counts as committed: until then nothing is known, which is not to be taken for "no origin".
absl::StatusOr<std::string> CommitOrigins::OriginOf(uint32_t xid) {
  // The xid with its epoch is the last one that it can be, as what is decoded is not that old.
  const std::string sql = absl::StrCat(
      "SELECT c.roident IS NOT NULL OR pg_xact_status((n.next - ((n.next - ", xid,
      ") & 4294967295))::text::xid8) IS DISTINCT FROM 'in progress',"
      " CASE WHEN c.roident <> 0 THEN coalesce((SELECT roname FROM pg_replication_origin o"
      " WHERE o.roident = c.roident), 'bdr_') ELSE '' END"
      " FROM (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::int8 + 1000000 AS next) AS n,"
      " pg_xact_commit_timestamp_origin('",
      xid, "'::xid) AS c");
  const absl::Time deadline = SteadyNow() + kUntilCommitted;
  while (!options_.stopping()) {
    // The answer that counts is the second one: what was not known in the first may be by then.
    ASSIGN_OR_RETURN(const postgres::Result settled, sql_->Exec(sql));
    if (settled.value(0, 0) == "t") {
      ASSIGN_OR_RETURN(const postgres::Result known, sql_->Exec(sql));
      return std::string(known.value(0, 1));
    }
    if (SteadyNow() > deadline) break;
    options_.wait(kBetweenAttempts);
  }
  return absl::UnavailableError(absl::StrCat("the server has sent the commit of transaction ", xid,
                                             " and still says that it is running"));
}

// PostgreSQL 15 takes the origin of a streamed transaction from its first change, and what a DDL
// command or a TRUNCATE does to the catalogs carries none: such a transaction looks local although
// it was applied, and would go round for ever. What its commit record says is kept with its commit
// time, as long as anybody may still have to decode it, since the slot keeps the catalogs' xids.
absl::StatusOr<CommitOrigins::Writer> CommitOrigins::WriterOf(uint32_t xid) {
  if (sql_ == nullptr || sql_->broken()) {
    ASSIGN_OR_RETURN(sql_, postgres::Connection::Connect(
                               {.conninfo = options_.conninfo, .application_name = "bdr capture"}));
  }
  ASSIGN_OR_RETURN(const std::string origin, OriginOf(xid));
  if (origin.empty()) return Writer::kUser;
  // One that is gone by now was an agent's.
  return !options_.forward_foreign || ForeignOrigins::IsOurs(origin) ? Writer::kRemote
                                                                     : Writer::kForeign;
}

}  // namespace bdr::agent
