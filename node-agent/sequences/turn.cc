#include "node-agent/sequences/turn.h"

namespace bdr::agent {

absl::string_view ToString(TurnState state) {
  switch (state) {
    case TurnState::kElsewhere:
      return "elsewhere";
    case TurnState::kAsking:
      return "asking";
    case TurnState::kTaking:
      return "taking";
    case TurnState::kHeld:
      return "held";
    case TurnState::kEnding:
      return "ending";
    case TurnState::kUnclear:
      return "unclear";
    case TurnState::kOverruled:
      return "overruled";
  }
  return "";
}

TurnDecision Decide(const TurnView& view) {
  const bool is_open = view.open.value_or(0) > 0;
  // A bdr-server that has gone back in time learns how it is from the agents' reports.
  if (view.newest < view.turn) {
    return {TurnStep::kNone, view.held && is_open ? TurnState::kHeld : TurnState::kElsewhere};
  }
  if (!view.ours) {
    if (view.held) return {TurnStep::kClose, TurnState::kOverruled};
    if (is_open) return {TurnStep::kStop, TurnState::kElsewhere};
    if (view.asked) return {TurnStep::kAsk, TurnState::kAsking};
    return {TurnStep::kNone, TurnState::kElsewhere};
  }
  const bool forgot =
      view.set_back || (view.newest > view.turn ? view.confirmed : view.told_next > view.next);
  if (forgot) return {is_open ? TurnStep::kStop : TurnStep::kNone, TurnState::kUnclear};
  if (view.newest > view.turn) {
    // A person has given this node another turn while it had one, from which nobody may draw any
    // more.
    return {is_open ? TurnStep::kStop : TurnStep::kWrite, TurnState::kTaking};
  }
  if (!view.held) return {TurnStep::kGiveBack, TurnState::kEnding};
  if (!view.confirmed) return {TurnStep::kConfirm, TurnState::kTaking};
  if (view.wanted) return {TurnStep::kEnd, TurnState::kEnding};
  if (view.open != static_cast<int64_t>(view.turn)) return {TurnStep::kOpen, TurnState::kTaking};
  return {TurnStep::kNone, TurnState::kHeld};
}

}  // namespace bdr::agent
