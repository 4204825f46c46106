// The drawing at the top of the header is what people go by at night: it must have every state.
#include "node-agent/apply/session/applier_state.h"

#include <gtest/gtest.h>

#include <string>

#include "base/drawn_states_testing.h"
#include "node-agent/apply/session/apply_control.h"

namespace bdr::agent {
namespace {

TEST(ApplierStateTest, TheDrawingHasEveryStateAndNoOther) {
  EXPECT_EQ(DrawnStates(std::string(BDR_SOURCE_DIR) + "/node-agent/apply/session/applier_state.h"),
            NamesOfStates<ApplierState>());
}

TEST(ApplyControlTest, AStateIsToldWithItsHealth) {
  ApplyControl control({.node = 2, .incarnation = 1});
  EXPECT_EQ(control.health().state, "connecting");
  control.Set(Health::Level::kCritical, ApplierState::kHeld, "far ahead");
  EXPECT_EQ(control.state(), ApplierState::kHeld);
  EXPECT_EQ(control.health().state, "held");
  EXPECT_EQ(control.health().reason, "far ahead");
}

TEST(ApplyControlTest, WhatWasAskedIsTakenOnce) {
  ApplyControl control({.node = 2, .incarnation = 1});
  EXPECT_FALSE(control.TakeRetry());
  control.Retry();
  EXPECT_TRUE(control.TakeRetry());
  EXPECT_FALSE(control.TakeRetry());
  control.Rewind(/*lost_commits=*/true);
  EXPECT_TRUE(control.must_leave());
  control.BeginSession();
  EXPECT_FALSE(control.must_leave());
  EXPECT_TRUE(control.TakeLostCommits());
  EXPECT_FALSE(control.TakeLostCommits());
}

TEST(ApplyControlTest, AWaitEndsWhenSomethingIsAskedFor) {
  ApplyControl control({.node = 2, .incarnation = 1});
  control.Retry();
  control.WaitABit(absl::Hours(1));  // or this test never ends
  control.TakeRetry();
  control.Stop();
  control.WaitABit(absl::Hours(1));
  EXPECT_TRUE(control.stopping());
}

}  // namespace
}  // namespace bdr::agent
