#include "node-agent/upkeep/conflict_log_bound.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/steady_clock.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kBoundInterval = absl::Minutes(1);
constexpr absl::string_view kLockNotAvailable = "55P03";

std::string DeleteSql(absl::string_view of, absl::string_view order) {
  return absl::StrCat("DELETE FROM bdr.conflict_log WHERE id IN (SELECT id FROM bdr.conflict_log",
                      " WHERE ", of, " ORDER BY ", order, " LIMIT ", ConflictLogBound::kRowsAtATime,
                      " FOR UPDATE SKIP LOCKED)");
}

}  // namespace

absl::Status ConflictLogBound::Look(postgres::Connection* connection, int64_t stable_us) {
  if (SteadyNow() - looked_ < kBoundInterval) return absl::OkStatus();
  looked_ = SteadyNow();
  const std::string too_old =
      absl::StrCat("detected_at < least(clock_timestamp(), 'epoch'::timestamptz + ", stable_us,
                   " * '1 microsecond'::interval) - '", absl::ToInt64Seconds(options_.max_age),
                   " seconds'::interval");
  const std::string too_many =
      absl::StrCat("id <= (SELECT max(id) - ", options_.max_rows, " FROM bdr.conflict_log)");
  for (const std::string& sql : {DeleteSql(too_old, "detected_at"), DeleteSql(too_many, "id")}) {
    const absl::StatusOr<postgres::Result> result = connection->Exec(sql);
    if (postgres::Sqlstate(result.status()) == kLockNotAvailable) return absl::OkStatus();
    if (!result.ok()) return result.status();
    if (result->affected() == kRowsAtATime) looked_ = absl::InfinitePast();  // there is more
  }
  return absl::OkStatus();
}

}  // namespace bdr::agent
