#include "node-agent/check/clocks.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "node-agent/clocks/clock_gate.h"
#include "postgres/setup/findings.h"

namespace bdr::agent {

pg_setup::Checked CheckClocks(std::optional<ClockReading> bdr_server,
                              std::optional<ClockReading> postgres, absl::Duration max_skew) {
  pg_setup::Findings findings;
  if (!bdr_server.has_value()) return {"clocks", {}};
  const ClockReading own = postgres.value_or(ClockReading());
  const int64_t ahead_us = own.ahead_us - bdr_server->ahead_us;
  const int64_t sure_us = std::abs(ahead_us) - own.uncertain_us - bdr_server->uncertain_us;
  const char* const whose = postgres.has_value() ? "PostgreSQL's clock" : "this machine's clock";
  if (sure_us > absl::ToInt64Microseconds(max_skew)) {
    findings.Warning(absl::StrCat(
        whose, " is ", RoughDuration(std::abs(ahead_us)), ahead_us > 0 ? " ahead of" : " behind",
        " bdr-server's (max_clock_skew is ", absl::FormatDuration(max_skew),
        "): where nodes are that far apart changes are held; set the clocks right, with NTP"));
  } else {
    findings.Ok(absl::StrCat(whose, " and bdr-server's are within ", absl::FormatDuration(max_skew),
                             " (max_clock_skew)"));
  }
  return {"clocks", findings.Take()};
}

}  // namespace bdr::agent
