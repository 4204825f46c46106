// What state capture is in, and how it moves:
//
//   connecting, stopped -> creating_slot: there is none yet, and transactions run that it waits for
//   connecting, creating_slot, paused, stopped -> streaming: the stream has begun
//   connecting, streaming, paused, stopped -> streaming_text: likewise, but of a transaction that
//     comes PostgreSQL cannot send a value in binary form
//   streaming_text -> streaming: that transaction has passed
//   connecting, streaming, streaming_text, stopped -> paused: the change log has reached its cap
//   creating_slot, streaming, streaming_text, paused, stopped -> connecting: PostgreSQL is gone
//   connecting, creating_slot, streaming, streaming_text, paused -> stopped: an error that may be
//     for a person to mend, or the agent is shutting down
//
// An attempt to begin again is no move: until the stream stands, capture stays in the state that
// the last one ended in, with its reason. So it is `stopped`, too, where it comes from `stopped`,
// until something behind the transaction was decoded that PostgreSQL could not decode.
#pragma once

#include <atomic>

#include "absl/strings/string_view.h"
#include "base/health.h"

namespace bdr::agent {

enum class CaptureState {
  kConnecting,
  kCreatingSlot,
  kStreaming,
  // All values are read as texts, which is slow.
  kStreamingText,
  // Nothing is connected until there is room in the change log, or apply waits for capture.
  kPaused,
  // Tried again from time to time, as everything is.
  kStopped,
};
// The word that people see.
const char* ToString(CaptureState state);

// Thread-safe.
class CaptureHealth {
 public:
  // Enters a state. True if it, the level or the reason is another one than before.
  bool Set(Health::Level level, CaptureState state, absl::string_view reason = "") {
    state_ = state;
    return health_.Set(level, ToString(state), reason);
  }
  CaptureState state() const { return state_; }
  Health Get() const { return health_.Get(); }

 private:
  std::atomic<CaptureState> state_{CaptureState::kConnecting};
  HealthCell health_{ToString(CaptureState::kConnecting)};
};

}  // namespace bdr::agent
