// What an applier is at.
//
//   connecting   no session, or the old one's backend still holds the origin
//   rebuilding   row versions that a machine crash took from the store come back from the log
//   applying     all that is ready is applied, or there is nothing to do
//   waiting      for what another origin committed before (causal order), the rest of a large
//                transaction, capture, keys, values of another node, a clock that is nearly there,
//                or a lock that a user holds
//   paused       this server's clock was set back, or another's step has been accepted
//   held         a transaction lies in the future of this server's clock by more than the limit, or
//                was made under settings that are not known here
//   stopped      a transaction cannot be applied: a person is needed, or the next automatic try; or
//                the agent shuts down
//   stalled      applying by its own account, but nothing comes of it; shown, never entered
//
//   connecting -> rebuilding -> applying
//   connecting -> applying
//   applying -> waiting, paused, held
//   waiting -> applying, paused, held
//   paused -> applying, waiting, held
//   held -> applying, waiting, paused
//   applying, waiting, paused, held -> stopped -> applying, waiting, paused, held
//   applying -> stalled -> applying
//   rebuilding, applying, waiting, paused, held, stopped -> connecting: the session has ended
//   connecting, rebuilding -> stopped: the agent shuts down
#pragma once

#include "node-agent/clocks/clock_gate.h"

namespace bdr::agent {

enum class ApplierState {
  kConnecting,
  kRebuilding,
  kApplying,
  kWaiting,
  kPaused,
  kHeld,
  kStopped,
  kStalled,
};

inline const char* ToString(ApplierState state) {
  switch (state) {
    case ApplierState::kConnecting:
      return "connecting";
    case ApplierState::kRebuilding:
      return "rebuilding";
    case ApplierState::kApplying:
      return "applying";
    case ApplierState::kWaiting:
      return "waiting";
    case ApplierState::kPaused:
      return "paused";
    case ApplierState::kHeld:
      return "held";
    case ApplierState::kStopped:
      return "stopped";
    case ApplierState::kStalled:
      return "stalled";
  }
  return "unknown";
}

// What an applier is at while the clock gate keeps a transaction back.
inline ApplierState StateOf(ClockGate::State gate) {
  switch (gate) {
    case ClockGate::State::kWaiting:
      return ApplierState::kWaiting;
    case ClockGate::State::kPaused:
      return ApplierState::kPaused;
    case ClockGate::State::kHeld:
      return ApplierState::kHeld;
  }
  return ApplierState::kWaiting;
}

}  // namespace bdr::agent
