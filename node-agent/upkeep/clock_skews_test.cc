// A clock that is out must be told while all changes still flow; a reading that was late must not.
#include "node-agent/upkeep/clock_skews.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bdr::agent {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr absl::Duration kMaxSkew = absl::Milliseconds(500);
const absl::Time kStart = absl::FromUnixSeconds(1000);

TEST(ClockSkewsTest, AClockIsTrueWithinTheLimit) {
  ClockSkews skews(kMaxSkew);
  for (int i = 0; i < 10; ++i) {
    skews.Look(kStart + absl::Seconds(i), {{"n2", 500'000}, {"n3", -500'000}});
    EXPECT_EQ(skews.health().level, Health::Level::kOk);
  }
}

TEST(ClockSkewsTest, WhatIsOutForAWhileIsToldUntilItIsRight) {
  ClockSkews skews(kMaxSkew);
  skews.Look(kStart, {{"n2", 3'000'000}, {"n3", 0}});
  EXPECT_EQ(skews.health().level, Health::Level::kOk);
  skews.Look(kStart + ClockSkews::kPatience, {{"n2", 3'000'000}, {"n3", 0}});
  const Health out = skews.health();
  EXPECT_EQ(out.level, Health::Level::kWarning);
  EXPECT_EQ(out.state, "clock_skew");
  EXPECT_THAT(out.reason, AllOf(HasSubstr("the clock of \"n2\" is 3.0s ahead of this server's"),
                                HasSubstr("max_clock_skew is 500ms"), HasSubstr("NTP")));
  skews.Look(kStart + absl::Seconds(3), {{"n2", 100}, {"n3", 0}});
  EXPECT_EQ(skews.health().level, Health::Level::kOk);
}

TEST(ClockSkewsTest, WhoIsAheadHearsThatOthersWillHoldItsChanges) {
  ClockSkews skews(kMaxSkew);
  for (int i = 0; i < 5; ++i) {
    skews.Look(kStart + absl::Seconds(i), {{"n2", -3'000'000}, {"n3", -3'000'000}});
  }
  EXPECT_THAT(skews.health().reason,
              AllOf(HasSubstr("this server's clock is 3.0s ahead of that of \"n2\""),
                    HasSubstr("ahead of that of \"n3\", which will hold this node's changes")));
}

TEST(ClockSkewsTest, AReadingThatWasLateIsNotTold) {
  ClockSkews skews(kMaxSkew);
  for (int i = 0; i < 10; ++i) {
    skews.Look(kStart + absl::Seconds(i), {{"n2", i % 2 == 0 ? 3'000'000 : 0}});
    EXPECT_EQ(skews.health().level, Health::Level::kOk);
  }
}

// It may have any clock by then.
TEST(ClockSkewsTest, OfAPeerThatIsNotHeardNothingIsSaid) {
  ClockSkews skews(kMaxSkew);
  skews.Look(kStart, {{"n2", 3'000'000}});
  skews.Look(kStart + absl::Seconds(5), {{"n2", 3'000'000}});
  EXPECT_EQ(skews.health().level, Health::Level::kWarning);
  skews.Look(kStart + absl::Seconds(6), {});
  EXPECT_EQ(skews.health().level, Health::Level::kOk);
}

}  // namespace
}  // namespace bdr::agent
