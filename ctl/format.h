// Numbers and times as people read them, and times as programs do.
#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace bdr::ctl {

std::string HumanBytes(uint64_t bytes);  // "0", "917 B", "1.2 MiB"
std::string HumanAge(
    int64_t age_us);  // "now", "12s", "2m 5s", "5h 12m", "2d 3h"; negative is "now"
std::string HumanLag(int64_t lag_ms);  // "0", "350ms", "2.1s", from a minute on as HumanAge()

// As psql shows it: "2026-01-31 23:14:07+01", by the clock of whoever reads. 0 is "-".
std::string LocalTime(int64_t unix_us, absl::TimeZone zone = absl::LocalTimeZone());
// The same to the microsecond, where a moment decides: "2026-01-31 23:14:07.042123+01".
std::string LocalStamp(int64_t unix_us, absl::TimeZone zone = absl::LocalTimeZone());

// For programs: "2026-01-31T22:14:07.042123Z"; 0 is "-".
std::string TimeText(int64_t unix_us);

std::string OrDash(const std::string& s);  // "-" for ""

}  // namespace bdr::ctl
