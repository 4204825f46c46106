// What people read of a start must be what the code does.
#include "node-agent/agent_state.h"

#include <set>
#include <string>

#include "base/drawn_states_testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bdr::agent {
namespace {

TEST(AgentStateTest, EveryStateIsDrawnAndNoOther) {
  std::set<std::string> states;
  for (int i = 0; ToString(static_cast<AgentState>(i)) != "unknown"; ++i) {
    states.insert(std::string(ToString(static_cast<AgentState>(i))));
  }
  EXPECT_THAT(states, ::testing::Contains("running"));
  EXPECT_EQ(DrawnStates(BDR_SOURCE_DIR "/node-agent/agent_state.h"), states);
}

TEST(AgentStateTest, AStateIsToldWithItsHealth) {
  AgentHealth health;
  EXPECT_EQ(health.Get().health.state, "starting");
  EXPECT_TRUE(health.Set(Health::Level::kWarning, AgentState::kJoining, "eu1 does not answer"));
  EXPECT_FALSE(health.Set(Health::Level::kWarning, AgentState::kJoining, "eu1 does not answer"));
  const AgentHealth::Told told = health.Get();
  EXPECT_EQ(told.state, AgentState::kJoining);
  EXPECT_EQ(told.health.state, "joining");
  EXPECT_EQ(told.health.reason, "eu1 does not answer");
}

}  // namespace
}  // namespace bdr::agent
