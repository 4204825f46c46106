#include "node-agent/apply/session/apply_control.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/steady_clock.h"

namespace bdr::agent {

void ApplyControl::Stop() {
  stopping_ = true;
  MutexLock lock(&mu_);
  woken_.NotifyAll();
}

void ApplyControl::Retry() {
  MutexLock lock(&mu_);
  retry_ = true;
  woken_.NotifyAll();
}

void ApplyControl::Rewind(bool lost_commits) {
  if (lost_commits) lost_commits_ = true;
  rewind_ = true;
}

bool ApplyControl::TakeRetry() {
  MutexLock lock(&mu_);
  return std::exchange(retry_, false);
}

void ApplyControl::Set(Health::Level level, ApplierState state, absl::string_view reason) {
  state_ = state;
  if (!health_.Set(level, ToString(state), reason)) return;
  if (level == Health::Level::kOk) {
    // To connect is not to work yet.
    const bool works = state != ApplierState::kConnecting && repetition_.Works(SteadyNow());
    const bool healed = works && std::exchange(failed_, false);
    (healed ? LogInfo : LogDebug)("apply",
                                  {{"state", ToString(state)}, {"origin", ToString(origin_)}},
                                  healed ? repetition_.LineText("") : "");
    return;
  }
  if (level == Health::Level::kWarning && state == ApplierState::kWaiting) return;
  // A session may begin well and end at once, for the same reason each time. Reasons by the clock
  // change all the time: once for each time that it begins.
  const bool by_clock = state == ApplierState::kHeld || state == ApplierState::kPaused;
  if (!repetition_.Failed(absl::StrCat(ToString(state), " ", by_clock ? "" : reason),
                          SteadyNow())) {
    return;
  }
  failed_ = true;
  (level == Health::Level::kCritical ? LogError : LogWarning)(
      "apply", {{"state", ToString(state)}, {"origin", ToString(origin_)}},
      repetition_.LineText(reason));
}

void ApplyControl::Ended() {
  state_ = ApplierState::kStopped;
  health_.Set(Health::Level::kWarning, ToString(ApplierState::kStopped),
              "the agent is shutting down");
}

void ApplyControl::WaitABit(absl::Duration duration) {
  const absl::Time until = SteadyNow() + duration;
  MutexLock lock(&mu_);
  while (!stopping_ && !retry_ && SteadyNow() < until) woken_.WaitFor(&mu_, until - SteadyNow());
}

}  // namespace bdr::agent
