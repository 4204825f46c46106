#include "node-agent/capture/foreign_origins.h"

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kOver = absl::Minutes(1);

// A subscription's origin is named by its OID. Those of other databases write elsewhere.
constexpr char kMovesSql[] =
    "SELECT o.external_id, o.local_lsn, s.subname FROM"
    " pg_show_replication_origin_status() AS o"
    " LEFT JOIN pg_subscription AS s ON 'pg_' || s.oid = o.external_id"
    " LEFT JOIN pg_database AS d ON d.oid = s.subdbid"
    " WHERE o.external_id IS NOT NULL"
    " AND (s.oid IS NULL OR d.datname = current_database())";

std::string Display(const std::string& name, const std::string& subscription) {
  return absl::StrCat(
      "\"", name, "\"",
      subscription.empty() ? "" : absl::StrCat(" (subscription \"", subscription, "\")"));
}

}  // namespace

// Those of node-agent/positions/server_names.h, another database's too, and origins that are done
// with (dead_...).
bool ForeignOrigins::IsOurs(absl::string_view name) {
  return absl::StartsWith(name, "bdr_") || absl::StartsWith(name, "dead_");
}

void ForeignOrigins::MovedLocked(const std::string& name, Origin* origin, absl::Time now) {
  if (now - origin->last > kOver) {
    origin->since = now;
    origin->transactions = 0;
    origin->told = true;
    LogWarning("foreign_origin", {{"origin", name}, {"state", "writes"}},
               absl::StrCat("what replication origin ", Display(name, origin->subscription),
                            " writes here goes to no other node"));
  }
  origin->last = now;
}

void ForeignOrigins::Dropped(absl::string_view name) {
  if (IsOurs(name)) return;
  MutexLock lock(&mu_);
  Origin& origin = origins_[std::string(name)];
  MovedLocked(std::string(name), &origin, SteadyNow());
  ++origin.transactions;
}

absl::Status ForeignOrigins::Look(postgres::Connection* connection) {
  if (forwarded_) return absl::OkStatus();
  ASSIGN_OR_RETURN(const postgres::Result moves, connection->Exec(kMovesSql));
  MutexLock lock(&mu_);
  const absl::Time now = SteadyNow();
  for (int i = 0; i < moves.rows(); ++i) {
    const std::string name(moves.value(i, 0));
    if (IsOurs(name)) continue;
    Origin& origin = origins_[name];
    origin.subscription = std::string(moves.value(i, 2));
    const std::string local_lsn(moves.value(i, 1));
    const bool moved = origin.local_lsn != local_lsn;
    origin.local_lsn = local_lsn;
    // The first look only learns where they stand.
    if (moved && looked_) MovedLocked(name, &origin, now);
  }
  looked_ = true;
  for (auto& [name, origin] : origins_) {
    if (!origin.told || now - origin.last <= kOver) continue;
    origin.told = false;
    LogInfo("foreign_origin",
            {{"origin", name}, {"state", "quiet"}, {"transactions", origin.transactions}});
  }
  return absl::OkStatus();
}

Health ForeignOrigins::health() const {
  MutexLock lock(&mu_);
  const absl::Time now = SteadyNow();
  std::vector<std::string> writing;
  absl::Duration age;
  for (const auto& [name, origin] : origins_) {
    if (now - origin.last > kOver) continue;
    writing.push_back(absl::StrCat(
        Display(name, origin.subscription),
        origin.transactions == 0
            ? ""
            : absl::StrCat(", ", origin.transactions,
                           origin.transactions == 1 ? " transaction" : " transactions")));
    age = std::max(age, now - origin.since);
  }
  if (writing.empty()) return {};
  return {.level = Health::Level::kWarning,
          .state = "foreign_origin",
          .reason = absl::StrCat("another tool writes here under its own replication origin, and "
                                 "what it writes goes to no other node: ",
                                 absl::StrJoin(writing, "; "),
                                 ": let it write to every node, or without an origin; or set "
                                 "forward_foreign_origins in agent.yaml"),
          .since = absl::Now() - age};
}

}  // namespace bdr::agent
