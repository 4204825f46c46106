// What the clock allows to be applied.
//
// A remote transaction is applied only once this server's clock is past its stamp: then every local
// write that saw it is later by the clock alone. The same goes for whatever else has a stamp here,
// applied or own: while the clock is behind the newest of these (it was set back), local commits
// carry stamps above their commit times by an amount that nobody knows yet, and apply pauses.
// Stamps stay right in any case (stamp_clock.h); what suffers is how surely the SQL filter tells
// old rows from new.
//
// A clock that jumped by years would stop the others for years. For that an administrator may
// accept the step ("bdrctl clock accept"): until this server's clock has passed all stamps, the
// rules then go by the clock and an advance, the same on every node.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/health.h"
#include "base/mutex.h"
#include "node-agent/clocks/stamp_clock.h"
#include "node-agent/cluster/membership.h"
#include "node-agent/positions/applied_history.h"
#include "node-agent/positions/progress.h"

namespace bdr::agent {

// Thread-safe; no call blocks.
class ClockGate {
 public:
  // Why something does not go: the clock is nearly there; it was set back, or a step of another's
  // has been accepted; or the transaction lies too far ahead.
  enum class State { kWaiting, kPaused, kHeld };
  struct Verdict {
    bool go = false;
    // Otherwise: how long until it may be worth another look, and what to say meanwhile.
    absl::Duration wait = absl::ZeroDuration();
    Health::Level level = Health::Level::kOk;
    State state = State::kWaiting;
    std::string reason = "";
    int64_t held_us = 0;  // not 0: the transaction is held, being that far ahead
  };

  // All outlive it. `retired`: the accepted step with this id, or an older one, is over.
  ClockGate(absl::Duration max_skew, const Progress* progress, const AppliedHistory* history,
            const StampClock* stamps, uint64_t retired)
      : max_skew_(max_skew),
        progress_(progress),
        history_(history),
        stamps_(stamps),
        retired_(retired) {}

  // Whether a transaction of the node `origin` with this stamp may be applied now, by what is known
  // of the server's clock. The server itself is asked again, by MustHavePassed().
  Verdict Look(int64_t stamp_us, absl::string_view origin) const;

  // The time that the server's clock must have passed when something stamped `stamp_us` is applied.
  int64_t MustHavePassed(int64_t stamp_us) const;

  // Takes up the step that the cluster accepted last; repeating it is harmless.
  void Accept(const AcceptedClock& accepted);
  // The advance ends once the clock has passed all stamps: gives the id of the step that is over,
  // to be written down, else 0.
  uint64_t Retire();

  // The newest stamp of anything here, applied or own; 0 if there is none.
  int64_t Newest() const;
  // Every own stamp yet to come is later than this.
  int64_t Floor() const { return stamps_->Floor(); }
  // The advance of the clock: what the rules add to it now.
  int64_t advance_us() const;

 private:
  const absl::Duration max_skew_;
  const Progress* const progress_;
  const AppliedHistory* const history_;
  const StampClock* const stamps_;

  mutable Mutex mu_;
  AcceptedClock accepted_ ABSL_GUARDED_BY(mu_);
  uint64_t retired_ ABSL_GUARDED_BY(mu_);
};

// "350ms", "5.2s", "3h20m", "3652 days": as exact as a person needs it.
std::string RoughDuration(int64_t us);

}  // namespace bdr::agent
