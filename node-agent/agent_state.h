// How far the agent has come in its life.
//
//   starting -> waiting_for_identity      bdr-server does not know this node yet
//   waiting_for_identity -> checking      PostgreSQL is not reachable, or not fit to be a node
//   checking -> fencing                   an earlier agent's session may still commit
//   fencing -> starting                   the members are written down, and all parts are made
//   starting -> joining                   it learns from where it needs each member's changes
//   joining -> running
//
// A state is entered when its step has failed for the first time; until then the one before it
// shows. So what succeeds at once is passed over, and the next that shows may be any later one.
#pragma once

#include "absl/strings/string_view.h"
#include "base/health.h"
#include "base/mutex.h"

namespace bdr::agent {

enum class AgentState {
  kStarting,
  kWaitingForIdentity,
  kChecking,
  kFencing,
  kJoining,
  kRunning,
};
// As status, the log and /readyz show it.
absl::string_view ToString(AgentState state);

// The state with its health. Thread-safe.
class AgentHealth {
 public:
  struct Told {
    AgentState state;
    Health health;  // its state is ToString(state)
  };

  // As HealthCell::Set().
  bool Set(Health::Level level, AgentState state, absl::string_view reason = "") {
    MutexLock lock(&mu_);
    state_ = state;
    return cell_.Set(level, ToString(state), reason);
  }

  Told Get() const {
    MutexLock lock(&mu_);
    return {.state = state_, .health = cell_.Get()};
  }

 private:
  mutable Mutex mu_;
  AgentState state_ ABSL_GUARDED_BY(mu_) = AgentState::kStarting;
  HealthCell cell_{ToString(AgentState::kStarting)};
};

}  // namespace bdr::agent
