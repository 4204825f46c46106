// A group makes the moves that are drawn, and no other: the drawing is what a reader goes by.
#include "node-agent/apply/plan/group_phase.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>

#include "base/drawn_states_testing.h"

namespace bdr::agent {
namespace {

TEST(GroupPhaseTest, TheMovesAreThoseOfTheDrawing) {
  std::set<std::pair<std::string, std::string>> moves;
  for (const GroupPhase from : kGroupPhases) {
    for (const GroupPhase to : kGroupPhases) {
      if (MayMove(from, to)) moves.insert({ToString(from), ToString(to)});
    }
  }
  const DrawnMoves drawn =
      ReadDrawnMoves(std::string(BDR_SOURCE_DIR) + "/node-agent/apply/plan/group_phase.h");
  EXPECT_EQ(drawn.moves, moves);
  EXPECT_EQ(drawn.states, NamesOfStates<GroupPhase>());
}

TEST(GroupPhaseTest, NothingIsWrittenBeforeItIsRecordedNorRecordedBeforeItIsRegistered) {
  EXPECT_FALSE(MayMove(GroupPhase::kRegistered, GroupPhase::kWritten));
  EXPECT_FALSE(MayMove(GroupPhase::kPlanned, GroupPhase::kRecorded));
  EXPECT_FALSE(MayMove(GroupPhase::kRecorded, GroupPhase::kCommitting));
}

}  // namespace
}  // namespace bdr::agent
