#include "ctl/format.h"

#include <array>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"

namespace bdr::ctl {
namespace {

struct Unit {
  int64_t seconds;
  const char* name;
};

std::string Local(const char* format, int64_t unix_us, absl::TimeZone zone) {
  if (unix_us == 0) return "-";
  const absl::Time time = absl::FromUnixMicros(unix_us);
  const std::string offset = absl::FormatTime("%Ez", time, zone);  // +01:00
  return absl::StrCat(absl::FormatTime(format, time, zone),
                      absl::StripSuffix(absl::string_view(offset), ":00"));
}

}  // namespace

std::string HumanBytes(uint64_t bytes) {
  if (bytes == 0) return "0";
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  constexpr std::array<const char*, 5> kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return absl::StrFormat("%.1f %s", value, kUnits[unit]);
}

std::string HumanAge(int64_t age_us) {
  const int64_t seconds = age_us / 1000000;
  if (seconds <= 0) return "now";
  constexpr std::array<Unit, 4> kUnits = {{{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}}};
  size_t unit = 0;
  while (seconds < kUnits[unit].seconds) ++unit;
  std::string text = absl::StrCat(seconds / kUnits[unit].seconds, kUnits[unit].name);
  // Two units are as exact as anybody reads.
  if (unit + 1 == kUnits.size()) return text;
  const int64_t rest = seconds % kUnits[unit].seconds / kUnits[unit + 1].seconds;
  if (rest > 0) absl::StrAppend(&text, " ", rest, kUnits[unit + 1].name);
  return text;
}

std::string HumanLag(int64_t lag_ms) {
  if (lag_ms <= 0) return "0";
  if (lag_ms < 1000) return absl::StrCat(lag_ms, "ms");
  if (lag_ms < 60'000) return absl::StrFormat("%.1fs", static_cast<double>(lag_ms) / 1000);
  return HumanAge(lag_ms * 1000);
}

std::string LocalTime(int64_t unix_us, absl::TimeZone zone) {
  return Local("%Y-%m-%d %H:%M:%S", unix_us, zone);
}

std::string LocalStamp(int64_t unix_us, absl::TimeZone zone) {
  return Local("%Y-%m-%d %H:%M:%E6S", unix_us, zone);
}

std::string TimeText(int64_t unix_us) {
  if (unix_us == 0) return "-";
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", absl::FromUnixMicros(unix_us),
                          absl::UTCTimeZone());
}

std::string OrDash(const std::string& s) { return s.empty() ? "-" : s; }

}  // namespace bdr::ctl
