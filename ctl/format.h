// Numbers and times as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace bdr::ctl {

std::string HumanBytes(uint64_t bytes);    // "0", "917 B", "1.2 MiB"
std::string HumanAge(int64_t age_us);      // "now", "12s", "3m", "5h", "2d"; negative is "now"
std::string TimeText(int64_t unix_us);     // "2026-01-31T22:14:07.042123Z"; 0 is "-"
std::string OrDash(const std::string& s);  // "-" for ""

}  // namespace bdr::ctl
