// How a part of the agent is doing, for people: a level, a word, a reason, and since when.
#pragma once

#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace bdr {

struct Health {
  enum class Level { kOk = 0, kWarning = 1, kCritical = 2 };
  Level level = Level::kOk;
  std::string state;   // one word
  std::string reason;  // one line, empty when good
  absl::Time since;
};

// Thread-safe.
class HealthCell {
 public:
  explicit HealthCell(absl::string_view state) {
    health_ = {.level = Health::Level::kWarning,
               .state = std::string(state),
               .reason = "",
               .since = absl::Now()};
  }

  // Enters a state; `since` moves only when state or level change. True if one of them, or the
  // reason, did.
  bool Set(Health::Level level, absl::string_view state, absl::string_view reason = "") {
    MutexLock lock(&mu_);
    const bool moved = health_.level != level || health_.state != state;
    const bool changed = moved || health_.reason != reason;
    if (moved) health_.since = absl::Now();
    health_.level = level;
    health_.state = std::string(state);
    health_.reason = std::string(reason);
    return changed;
  }

  Health Get() const {
    MutexLock lock(&mu_);
    return health_;
  }

 private:
  mutable Mutex mu_;
  Health health_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr
