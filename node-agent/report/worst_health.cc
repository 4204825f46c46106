#include "node-agent/report/worst_health.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace bdr::agent {

void WorstHealth::Take(const Health& health, absl::string_view part) {
  if (health.level < worst_.level || health.level == Health::Level::kOk) return;
  const std::string reason =
      absl::StrCat(part, ": ", health.reason.empty() ? health.state : health.reason);
  if (health.level == worst_.level) {
    absl::StrAppend(&worst_.reason, worst_.reason.empty() ? "" : "; ", reason);
    return;
  }
  worst_ = health;
  worst_.reason = reason;
}

}  // namespace bdr::agent
