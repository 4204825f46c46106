// Where a node is with the turn of a sequence of method gapless (seqam/gapless/gapless.sql), and
// what it has to do next. A decision alone; TurnKeeper carries it out.
//
//     elsewhere ──a session waits──► asking ──bdr-server gives it──► taking ──in the row,
//     confirmed──► held
//         ▲ │ └──────────── bdr-server has it back ◄── ending ◄── another node wants it
//         ───────────────────┘
//
// unclear: bdr-server says that this node has given out numbers of which its database knows
// nothing. overruled: an administrator has given the turn to another node while this one had it.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"

namespace bdr::agent {

enum class TurnState { kElsewhere, kAsking, kTaking, kHeld, kEnding, kUnclear, kOverruled };
absl::string_view ToString(TurnState state);

enum class TurnStep {
  kNone,
  kAsk,       // bdr-server, for the turn
  kWrite,     // the turn that it has given into the row
  kConfirm,   // to bdr-server that it is there
  kOpen,      // the register, so that sessions draw
  kEnd,       // the turn in the row, behind all who have drawn
  kGiveBack,  // to bdr-server
  kClose,     // register and row: the turn is not this node's any more
  kStop,      // the register alone, so that nobody draws
};

struct TurnView {
  // The row in the database, and its register.
  uint64_t turn = 0;
  bool held = false;
  int64_t next = 0;
  std::optional<int64_t> open = std::nullopt;
  bool asked = false;  // a session waits here
  // The last answer of bdr-server.
  bool ours = false;
  uint64_t newest = 0;
  bool confirmed = false;
  int64_t told_next = 0;
  bool wanted = false;    // by another node, and this one has had it for long enough
  bool set_back = false;  // the database was restored as it had been before
};

struct TurnDecision {
  TurnStep step = TurnStep::kNone;
  TurnState state = TurnState::kElsewhere;
};

// Whatever was the last thing to be done before a kill -9, a crash or the restore of a backup: what
// is decided here never lets two nodes, or one node twice, give out the same number.
TurnDecision Decide(const TurnView& view);

}  // namespace bdr::agent
