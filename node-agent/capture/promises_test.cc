// A promise that was given must hold in the agent's next life as well: no stamp lies at or below
// what is written down, and nothing above that was ever promised.
#include "node-agent/capture/promises.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/testing.h"

namespace bdr::agent {
namespace {

constexpr int64_t kSecondUs = 1'000'000;
constexpr int64_t kNowUs = 1'000 * kSecondUs;

class PromisesTest : public ::testing::Test {
 protected:
  static Pulse At(int64_t clock_us, uint64_t insert = 1000) {
    return {.clock_us = clock_us, .insert_lsn = Lsn{insert}, .flush_lsn = Lsn{insert}};
  }

  StampClock stamps_{0};
  std::vector<int64_t> ceilings_;
  absl::Status written_ = absl::OkStatus();
  Promises promises_{&stamps_, [this](int64_t ceiling_us) {
                       if (written_.ok()) ceilings_.push_back(ceiling_us);
                       return written_;
                     }};
};

TEST_F(PromisesTest, NothingIsPromisedBeforeAllThatWasWrittenHasItsStamp) {
  EXPECT_FALSE(Promises::May(At(kNowUs, 1000), Lsn{999}));
  EXPECT_TRUE(Promises::May(At(kNowUs, 1000), Lsn{1000}));
  EXPECT_FALSE(Promises::May(At(0, 1000), Lsn{1000})) << "the server was not asked yet";
  // What is inserted next comes behind the page's header, which nobody ever decodes.
  EXPECT_TRUE(Promises::May(At(kNowUs, 8192 + 24), Lsn{8192}));
}

TEST_F(PromisesTest, EveryLaterStampIsAboveThePromise) {
  ASSERT_OK_AND_ASSIGN(const int64_t promise, promises_.Next(At(kNowUs), 0, false));
  EXPECT_EQ(promise, kNowUs - Promises::kSlackUs);
  EXPECT_GT(stamps_.Next(promise - kSecondUs, 0), promise) << "the clock was set back";
}

TEST_F(PromisesTest, ACeilingOverItIsWrittenFirstAndInSteps) {
  for (int64_t i = 0; i < 100; ++i) {
    ASSERT_OK_AND_ASSIGN(const int64_t promise,
                         promises_.Next(At(kNowUs + i * 10'000, 1000 + i), 0, false));
    ASSERT_FALSE(ceilings_.empty());
    EXPECT_LE(promise, ceilings_.back());
  }
  EXPECT_LE(ceilings_.size(), 5u) << "a second of promises, a quarter of a second each";
}

TEST_F(PromisesTest, WhatCannotBeWrittenIsNotPromised) {
  ASSERT_OK(promises_.Next(At(kNowUs, 1000), 0, false).status());
  written_ = absl::UnavailableError("the disk is full");
  EXPECT_EQ(promises_.Next(At(kNowUs + kSecondUs, 1001), 0, false).status(), written_);
  // Nor later, as if it had been.
  EXPECT_EQ(promises_.Next(At(kNowUs + kSecondUs, 1001), 0, false).status(), written_);
  written_ = absl::OkStatus();
  ASSERT_OK_AND_ASSIGN(const int64_t promise,
                       promises_.Next(At(kNowUs + kSecondUs, 1001), 0, false));
  EXPECT_LE(promise, ceilings_.back());
}

TEST_F(PromisesTest, AnIdleServerPromisesSeldomAndWritesNothingElse) {
  ASSERT_OK(promises_.Next(At(kNowUs), 0, false).status());
  ASSERT_OK_AND_ASSIGN(int64_t last, promises_.Next(At(kNowUs + 60 * kSecondUs), 0, false));
  ceilings_.clear();
  int given = 0;
  for (int64_t i = 1; i <= 200; ++i) {  // for ten seconds, twenty times a second
    ASSERT_OK_AND_ASSIGN(const int64_t promise,
                         promises_.Next(At(kNowUs + 60 * kSecondUs + i * 50'000), 0, false));
    if (promise == last) continue;
    ++given;
    EXPECT_GE(promise, last + Promises::kLongestBetweenUs);
    EXPECT_EQ(ceilings_.back(), promise);
    last = promise;
  }
  EXPECT_EQ(given, 5);
  EXPECT_EQ(ceilings_.size(), 5u);
}

TEST_F(PromisesTest, WhileSomebodyWaitsAnIdleServerPromisesAtEachPulse) {
  ASSERT_OK(promises_.Next(At(kNowUs), 0, false).status());
  ASSERT_OK_AND_ASSIGN(const int64_t first,
                       promises_.Next(At(kNowUs + 60 * kSecondUs), 0, /*settling=*/true));
  ASSERT_OK_AND_ASSIGN(const int64_t second,
                       promises_.Next(At(kNowUs + 60 * kSecondUs + 50'000), 0, /*settling=*/true));
  EXPECT_EQ(second, first + 50'000);
}

TEST_F(PromisesTest, BehindWhatWasAppliedTheClockDoesNotCount) {
  ASSERT_OK_AND_ASSIGN(const int64_t promise,
                       promises_.Next(At(kNowUs), kNowUs + 3'600 * kSecondUs, false));
  EXPECT_EQ(promise, kNowUs + 3'600 * kSecondUs);
}

}  // namespace
}  // namespace bdr::agent
