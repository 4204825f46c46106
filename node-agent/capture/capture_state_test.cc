// The drawing at the top of the header is what people go by at night: it must have every state.
#include "node-agent/capture/capture_state.h"

#include <gtest/gtest.h>

#include <string>

#include "base/drawn_states_testing.h"

namespace bdr::agent {
namespace {

TEST(CaptureStateTest, TheDrawingHasEveryStateAndNoOther) {
  EXPECT_EQ(DrawnStates(std::string(BDR_SOURCE_DIR) + "/node-agent/capture/capture_state.h"),
            NamesOfStates<CaptureState>());
}

TEST(CaptureStateTest, ItIsSaidOnceThatAReasonIsAnother) {
  CaptureHealth health;
  EXPECT_EQ(health.state(), CaptureState::kConnecting);
  EXPECT_TRUE(health.Set(Health::Level::kCritical, CaptureState::kStopped, "no slot"));
  EXPECT_FALSE(health.Set(Health::Level::kCritical, CaptureState::kStopped, "no slot"));
  EXPECT_TRUE(health.Set(Health::Level::kCritical, CaptureState::kStopped, "no disk"));
  EXPECT_EQ(health.state(), CaptureState::kStopped);
  EXPECT_EQ(health.Get().state, "stopped");
}

}  // namespace
}  // namespace bdr::agent
