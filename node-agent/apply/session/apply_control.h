// How an applier is told what to do from outside, and how it says what it is at.
//
// An applier may be asked to stop, to begin a new session, or to try at once what it has given up
// for a while. Its own thread asks here at every point where it can leave without losing anything,
// and waits here, so that it wakes when it is to stop or to try again.
#pragma once

#include <atomic>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/health.h"
#include "base/mutex.h"
#include "base/origin.h"
#include "base/repetition.h"
#include "node-agent/apply/session/activity.h"
#include "node-agent/apply/session/applier_state.h"

namespace bdr::agent {

// The first half is thread-safe; the second belongs to the applier's thread.
class ApplyControl {
 public:
  explicit ApplyControl(OriginId origin) : origin_(origin) {}

  // --- from any thread ---
  // The applier is to end. For good.
  void Stop();
  // What is given up for a while is to be tried at once.
  void Retry();
  // The session is to end: what was committed must be read again.
  void Rewind(bool lost_commits);

  Health health() const { return health_.Get(); }
  ApplierState state() const { return state_; }
  Activity& activity() { return activity_; }
  const Activity& activity() const { return activity_; }
  bool stopping() const { return stopping_; }

  // --- the applier's thread ---
  // A new session begins; whatever asked for it is answered.
  void BeginSession() { rewind_ = false; }
  bool rewinding() const { return rewind_; }
  bool must_leave() const { return stopping_ || rewind_; }
  // Why a new session was asked for: PostgreSQL has lost commits. Asked once.
  bool TakeLostCommits() { return lost_commits_.exchange(false); }
  // Whether Retry() was called since this was last asked.
  bool TakeRetry();

  // Enters a state, and logs what a person should know of it: once, not each time that it repeats
  // itself.
  void Set(Health::Level level, ApplierState state, absl::string_view reason = "");
  // The applier's thread is about to return.
  void Ended();
  // Waits, until it is to stop or Retry() is called.
  void WaitABit(absl::Duration duration);

 private:
  const OriginId origin_;
  Activity activity_;
  HealthCell health_{ToString(ApplierState::kConnecting)};
  std::atomic<ApplierState> state_{ApplierState::kConnecting};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> rewind_{false};
  std::atomic<bool> lost_commits_{false};

  // Belong to the applier's thread.
  bool failed_ = false;    // and that was said
  Repetition repetition_;  // of what is logged of the state

  Mutex mu_;
  CondVar woken_;
  bool retry_ ABSL_GUARDED_BY(mu_) = false;
};

// What an applier leaves a step with when something else is asked of it.
inline absl::Status ToldToStop() { return absl::UnavailableError("the applier was told to stop"); }

}  // namespace bdr::agent
