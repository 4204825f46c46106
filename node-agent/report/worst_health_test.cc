// A status is one line for many parts: what it leaves out, nobody looks for.
#include "node-agent/report/worst_health.h"

#include "gtest/gtest.h"

namespace bdr::agent {
namespace {

constexpr Health::Level kOk = Health::Level::kOk;
constexpr Health::Level kWarning = Health::Level::kWarning;
constexpr Health::Level kCritical = Health::Level::kCritical;

Health Of(Health::Level level, const char* state, const char* reason) {
  return {.level = level, .state = state, .reason = reason, .since = absl::UnixEpoch()};
}

TEST(WorstHealthTest, WhatIsGoodSaysNothing) {
  WorstHealth worst(Of(kOk, "running", ""));
  worst.Take(Of(kOk, "streaming", "all is well"), "capture");
  EXPECT_EQ(worst.get().state, "running");
  EXPECT_EQ(worst.get().reason, "");
}

TEST(WorstHealthTest, TheWorstGivesStateAndReasonAndNamesItsPart) {
  WorstHealth worst(Of(kOk, "running", ""));
  worst.Take(Of(kWarning, "waiting", "a lock"), "apply of eu1");
  worst.Take(Of(kCritical, "stopped", "no such table"), "apply of us2");
  worst.Take(Of(kWarning, "paused", "no room"), "capture");
  EXPECT_EQ(worst.get().level, kCritical);
  EXPECT_EQ(worst.get().state, "stopped");
  EXPECT_EQ(worst.get().reason, "apply of us2: no such table");
}

TEST(WorstHealthTest, OneWarningDoesNotHideAnother) {
  WorstHealth worst(Of(kOk, "running", ""));
  worst.Take(Of(kWarning, "waiting", "a lock"), "apply of eu1");
  worst.Take(Of(kWarning, "paused", ""), "capture");
  EXPECT_EQ(worst.get().state, "waiting");
  EXPECT_EQ(worst.get().reason, "apply of eu1: a lock; capture: paused");
}

TEST(WorstHealthTest, WhatTheWholeSaysOfItselfStaysInFront) {
  WorstHealth worst(Of(kWarning, "joining", "eu1 does not answer"));
  worst.Take(Of(kWarning, "connecting", "not asked yet"), "PostgreSQL");
  EXPECT_EQ(worst.get().state, "joining");
  EXPECT_EQ(worst.get().reason, "eu1 does not answer; PostgreSQL: not asked yet");
}

}  // namespace
}  // namespace bdr::agent
