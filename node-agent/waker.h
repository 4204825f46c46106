// What the agent's thread sleeps on between two looks: a change wakes it, and so does Stop().
#pragma once

#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/steady_clock.h"

namespace bdr::agent {

// Thread-safe; one thread waits.
class Waker {
 public:
  // Both from any thread; return at once.
  void Changed() {
    MutexLock lock(&mu_);
    changed_ = true;
    woken_.NotifyAll();
  }
  void Stop() {
    MutexLock lock(&mu_);
    stopping_ = true;
    woken_.NotifyAll();
  }

  // Waits for that long, or until something has changed since the last GoOn(), or Stop().
  void Wait(absl::Duration duration) {
    const absl::Time until = SteadyNow() + duration;
    MutexLock lock(&mu_);
    while (!stopping_ && !changed_ && SteadyNow() < until) {
      woken_.WaitFor(&mu_, until - SteadyNow());
    }
  }

  // False after Stop(). Else whoever waits looks at everything now: what changed before counts as
  // seen.
  bool GoOn() {
    MutexLock lock(&mu_);
    changed_ = false;
    return !stopping_;
  }

 private:
  Mutex mu_;
  CondVar woken_;
  bool changed_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace bdr::agent
