// Whose turn it is to give out the numbers of a sequence of method gapless: what each wish of a
// node makes of it. Decisions alone; the allocator carries them out.
//
//     over ──asked──► taken, not confirmed ──confirmed──► taken ──given back──► over
//       ▲                     │ taken over                 │ taken over
//       └──────────────────── a new turn, of another holder ◄
//
// A turn is only ever given to the node that asked for it, and a node writes it into its database
// before it confirms. So at most one database has a turn that is not over, and where it is says the
// store, whatever happens to the holder.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace bdr::v1 {
class SequenceState;
class TurnRequest;
}  // namespace bdr::v1

namespace bdr::server {

// `now_us`: this server's clock. kFailedPrecondition if nobody knows who has the turn.
absl::Status ApplyTurn(const v1::TurnRequest& request, int64_t now_us, v1::SequenceState* state);

// True if the holder is to give the turn back.
bool IsTurnWanted(const v1::SequenceState& state, int64_t now_us);

// Ends turn `seen`, whoever has it, and gives the next one to `node`, from `first` on at least.
// kAborted if that turn is over by now.
absl::Status TakeTurnOver(const std::string& node, int64_t first, uint64_t seen,
                          v1::SequenceState* state);

// The sequence has just come to the method: nobody has the turn, and no earlier one counts.
void BeginTurns(v1::SequenceState* state);

// Takes what an agent has heard of the turn, if that is newer. True if it is.
bool LearnTurn(const v1::SequenceState& told, v1::SequenceState* state);

// A node that was not heard may have a turn that nobody knows.
void ForgetTurn(v1::SequenceState* state);

}  // namespace bdr::server
