#include "server/sequences/turns.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "bdr/v1/control.pb.h"

namespace bdr::server {
namespace {

// For so long a node that asked has the next turn before others; it asks again in time.
constexpr int64_t kAskedUs = 3'000'000;
constexpr uint64_t kPassedOver = uint64_t{1} << 32;

// That somebody asked still counts. What lies further ahead than it can, servers' clocks being a
// little apart, is of a clock that was set back since.
bool IsAsked(const v1::GaplessTurn& turn, int64_t now_us) {
  const int64_t left_us = turn.asked_until_us() - now_us;
  return !turn.asker().empty() && left_us > 0 && left_us <= 2 * kAskedUs;
}

void Give(const std::string& node, v1::GaplessTurn* turn) {
  turn->set_number(turn->number() + 1);
  turn->set_holder(node);
  turn->set_confirmed(false);
  turn->set_taken_over(false);
  turn->clear_asker();
  turn->clear_asked_until_us();
}

void Ask(const std::string& node, int64_t now_us, v1::GaplessTurn* turn) {
  const bool another = turn->asker() != node && IsAsked(*turn, now_us);
  if (turn->holder() == node || another) return;
  if (turn->holder().empty()) {
    Give(node, turn);
  } else if (!IsAsked(*turn, now_us) || turn->asked_until_us() < now_us + kAskedUs / 2) {
    turn->set_asker(node);
    turn->set_asked_until_us(now_us + kAskedUs);
  }
}

}  // namespace

absl::Status ApplyTurn(const v1::TurnRequest& request, int64_t now_us, v1::SequenceState* state) {
  v1::GaplessTurn* turn = state->mutable_turn();
  const bool is_its = turn->holder() == request.node() && turn->number() == request.turn();
  switch (request.wish()) {
    case v1::TurnRequest::LOOK:
      if (is_its && turn->confirmed()) state->set_next(std::max(state->next(), request.next()));
      return absl::OkStatus();
    case v1::TurnRequest::ASK:
      if (turn->unclear()) {
        return absl::FailedPreconditionError(absl::StrCat(
            "a node that was not heard may have the turn of sequence \"", state->name(),
            "\": \"bdrctl sequence takeover\" gives it to another one"));
      }
      Ask(request.node(), now_us, turn);
      return absl::OkStatus();
    case v1::TurnRequest::CONFIRM:
      if (is_its) turn->set_confirmed(true);
      return absl::OkStatus();
    case v1::TurnRequest::GIVE_BACK:
      if (!is_its) return absl::OkStatus();
      // What it was granted it has written down before it could end it.
      state->set_next(std::max(state->next(), request.next()));
      turn->clear_holder();
      return absl::OkStatus();
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("bdr-server knows no wish ", request.wish(), " of a turn: it is too old"));
  }
}

bool IsTurnWanted(const v1::SequenceState& state, int64_t now_us) {
  const v1::GaplessTurn& turn = state.turn();
  return turn.asker() != turn.holder() && IsAsked(turn, now_us);
}

absl::Status TakeTurnOver(const std::string& node, int64_t first, uint64_t seen,
                          v1::SequenceState* state) {
  v1::GaplessTurn* turn = state->mutable_turn();
  if (turn->number() == seen + kPassedOver + 1 && turn->holder() == node && turn->taken_over()) {
    return absl::OkStatus();  // the same request again
  }
  if (turn->number() != seen) {
    return absl::AbortedError(absl::StrCat("turn ", seen, " of sequence \"", state->name(),
                                           "\" is over by now: look again"));
  }
  if (first > state->last()) {
    return absl::InvalidArgumentError(absl::StrCat("sequence \"", state->name(), "\" ends at ",
                                                   state->last(), " and cannot go on at ", first));
  }
  // Beyond all that a bdr-server whose memory was lost may have given.
  turn->set_number(turn->number() + kPassedOver);
  Give(node, turn);
  turn->set_unclear(false);
  turn->set_taken_over(true);
  state->set_next(std::max(state->next(), first));
  return absl::OkStatus();
}

void BeginTurns(v1::SequenceState* state) {
  // One more, so that it is newer than what agents know of an earlier time.
  const uint64_t number = state->turn().number() + 1;
  state->clear_turn();
  state->mutable_turn()->set_number(number);
}

bool LearnTurn(const v1::SequenceState& told, v1::SequenceState* state) {
  const v1::GaplessTurn& theirs = told.turn();
  v1::GaplessTurn* ours = state->mutable_turn();
  if (theirs.number() > ours->number()) {
    // Who is heard now may not have been the last one.
    const bool unclear = ours->unclear();
    *ours = theirs;
    ours->set_unclear(unclear);
    state->set_next(std::max(state->next(), told.next()));
    return true;
  }
  if (theirs.number() < ours->number() || ours->holder().empty()) return false;
  // The same turn, of which they may have heard more.
  const bool over = theirs.holder().empty();
  const bool more =
      over || told.next() > state->next() || (theirs.confirmed() && !ours->confirmed());
  if (over) ours->clear_holder();
  ours->set_confirmed(ours->confirmed() || theirs.confirmed());
  state->set_next(std::max(state->next(), told.next()));
  return more;
}

void ForgetTurn(v1::SequenceState* state) { state->mutable_turn()->set_unclear(true); }

}  // namespace bdr::server
