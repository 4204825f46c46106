// Whether the clock lets something be applied: each verdict, and when an accepted step begins and
// ends.
#include "node-agent/clocks/clock_gate.h"

#include <gmock/gmock.h>

namespace bdr::agent {
namespace {

using testing::HasSubstr;

constexpr int64_t kNowUs = 1'800'000'000'000'000;
constexpr int64_t kSecondUs = 1'000'000;
constexpr int64_t kYearUs = 365 * 24 * 3600 * kSecondUs;
const OriginId kOther{.node = 2, .incarnation = 1};

class ClockGateTest : public testing::Test {
 protected:
  ClockGateTest() { progress_.SetServerClock(kNowUs); }

  // Something of another origin is applied here.
  void Applied(int64_t stamp_us) {
    history_.Begin(kOther, Lsn{++lsn_}, stamp_us, Lsn{lsn_});
    history_.Finish(kOther, Lsn{lsn_});
  }

  uint64_t lsn_ = 0;
  AppliedHistory history_;
  Progress progress_{OriginId{.node = 1, .incarnation = 1}, nullptr, &history_};
  StampClock stamps_{0};
  ClockGate gate_{absl::Milliseconds(500), &progress_, &history_, &stamps_, /*retired=*/3};
};

TEST_F(ClockGateTest, GoesOnceTheClockIsPast) {
  EXPECT_TRUE(gate_.Look(kNowUs - kSecondUs, "n2").go);
  EXPECT_EQ(gate_.MustHavePassed(kNowUs), kNowUs);
}

TEST_F(ClockGateTest, NothingGoesBeforeTheClockWasRead) {
  Progress unread(OriginId{.node = 1, .incarnation = 1}, nullptr, &history_);
  const ClockGate gate(absl::Milliseconds(500), &unread, &history_, &stamps_, 0);
  const ClockGate::Verdict verdict = gate.Look(kNowUs, "n2");
  EXPECT_FALSE(verdict.go);
  EXPECT_EQ(verdict.level, Health::Level::kOk) << "no alarm for that";
}

TEST_F(ClockGateTest, ALittleAheadWaitsFarAheadIsHeldWithAnAlarm) {
  const ClockGate::Verdict little = gate_.Look(kNowUs + 300'000, "n2");
  EXPECT_FALSE(little.go);
  EXPECT_EQ(little.state, ClockGate::State::kWaiting);
  EXPECT_EQ(little.level, Health::Level::kOk);
  EXPECT_EQ(little.held_us, 0);
  const ClockGate::Verdict far = gate_.Look(kNowUs + 5 * kSecondUs, "n2");
  EXPECT_EQ(far.state, ClockGate::State::kHeld);
  EXPECT_EQ(far.level, Health::Level::kCritical);
  EXPECT_NEAR(static_cast<double>(far.held_us), 5e6, 1e6);
  EXPECT_THAT(far.reason, HasSubstr("bdrctl clock accept n2"));
}

TEST_F(ClockGateTest, AClockBehindWhatStandsHerePausesEverything) {
  Applied(kNowUs + 3 * kSecondUs);
  const ClockGate::Verdict verdict = gate_.Look(kNowUs - kSecondUs, "n2");
  EXPECT_EQ(verdict.state, ClockGate::State::kPaused);
  EXPECT_EQ(verdict.level, Health::Level::kCritical);
  EXPECT_THAT(verdict.reason, HasSubstr("behind the newest change"));
  EXPECT_EQ(gate_.MustHavePassed(kNowUs), kNowUs + 3 * kSecondUs);
}

TEST_F(ClockGateTest, OwnStampsCountAsWellButNoPromises) {
  stamps_.Promise(kNowUs + 9 * kSecondUs);
  EXPECT_TRUE(gate_.Look(kNowUs - kSecondUs, "n2").go);
  stamps_.Next(kNowUs, 0);  // above the promise
  EXPECT_EQ(gate_.Look(kNowUs - kSecondUs, "n2").state, ClockGate::State::kPaused);
}

TEST_F(ClockGateTest, AnAcceptedStepHoldsUntilTheClockHasPassedEverything) {
  const AcceptedClock step{
      .id = 4, .ceiling_us = kNowUs + kYearUs, .advance_us = kYearUs + kSecondUs};
  EXPECT_EQ(gate_.Look(kNowUs + kYearUs, "n2").state, ClockGate::State::kHeld);
  gate_.Accept(step);
  EXPECT_TRUE(gate_.Look(kNowUs + kYearUs, "n2").go);
  EXPECT_LT(gate_.MustHavePassed(kNowUs + kYearUs), kNowUs);
  EXPECT_EQ(gate_.Look(kNowUs + 2 * kYearUs, "n2").state, ClockGate::State::kHeld)
      << "another step";
  EXPECT_EQ(gate_.Retire(), 0u);
  Applied(kNowUs + kYearUs + 5 * kSecondUs);
  progress_.SetServerClock(kNowUs + kYearUs + 3 * kSecondUs);
  EXPECT_EQ(gate_.Retire(), 0u) << "past the ceiling, but not past what came since";
  progress_.SetServerClock(kNowUs + kYearUs + 8 * kSecondUs);
  EXPECT_EQ(gate_.Retire(), 4u);
  EXPECT_EQ(gate_.advance_us(), 0);
  gate_.Accept(step);
  EXPECT_EQ(gate_.advance_us(), 0) << "it is over";
}

TEST_F(ClockGateTest, WhatIsOverDoesNotComeBack) {
  gate_.Accept({.id = 3, .ceiling_us = kNowUs + kYearUs, .advance_us = kYearUs});
  EXPECT_EQ(gate_.advance_us(), 0);
}

}  // namespace
}  // namespace bdr::agent
