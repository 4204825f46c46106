// Every node resolves conflicts by stamps, so what they promise each other about them must hold
// whatever the server's clock does. The properties compare with a list of everything given out.
#include "node-agent/clocks/stamp_clock.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <vector>

namespace bdr::agent {
namespace {

constexpr int64_t kSecondUs = 1'000'000;

TEST(StampClockTest, TheCommitTimeIsTheStampWhereNothingIsInTheWay) {
  StampClock clock(/*floor_us=*/0);
  EXPECT_EQ(clock.Next(100, 0), 100);
  EXPECT_EQ(clock.Next(101, 50), 101);
  EXPECT_EQ(clock.LargestRaise(0), 0);
}

TEST(StampClockTest, StampsRiseWhereCommitTimesDoNot) {
  StampClock clock(/*floor_us=*/0);
  EXPECT_EQ(clock.Next(100, 0), 100);
  EXPECT_EQ(clock.Next(100, 0), 101);
  EXPECT_EQ(clock.Next(40, 0), 102);
  EXPECT_EQ(clock.Next(103, 0), 103);
  EXPECT_EQ(clock.LargestRaise(0), 62);
}

TEST(StampClockTest, NothingIsAtOrBelowTheFloorOfBefore) {
  StampClock clock(/*floor_us=*/1000);
  EXPECT_EQ(clock.Next(1000, 0), 1001);
}

TEST(StampClockTest, AStampIsLaterThanWhatItsTransactionHadSeen) {
  StampClock clock(/*floor_us=*/0);
  EXPECT_EQ(clock.Next(100, 700), 701);
  // Also for transactions after it, whatever they had seen themselves.
  EXPECT_EQ(clock.Next(101, 0), 702);
}

TEST(StampClockTest, APromiseIsKept) {
  StampClock clock(/*floor_us=*/0);
  EXPECT_EQ(clock.Promise(500), 500);
  EXPECT_EQ(clock.Next(400, 0), 501);
}

TEST(StampClockTest, APromiseIsNeverBelowWhatIsKnownAlready) {
  StampClock clock(/*floor_us=*/0);
  EXPECT_EQ(clock.Next(900, 0), 900);
  EXPECT_EQ(clock.Promise(500), 900);
  EXPECT_EQ(clock.Promise(901), 901);
  EXPECT_EQ(clock.Promise(1), 901);
}

TEST(StampClockTest, RaisesAreForgottenWhenTheirTimeIsStable) {
  StampClock clock(/*floor_us=*/10 * kSecondUs);
  clock.Next(9 * kSecondUs, 0);   // raised by a second
  clock.Next(20 * kSecondUs, 0);  // not at all
  clock.Next(20 * kSecondUs, 0);  // by a microsecond
  EXPECT_EQ(clock.LargestRaise(0), kSecondUs + 1);
  EXPECT_EQ(clock.LargestRaise(15 * kSecondUs), 1);
  EXPECT_EQ(clock.LargestRaise(25 * kSecondUs), 0);
}

// From min to below max, whatever the size of the case: the first cases are to be as wild as the
// last.
template <typename T>
T Draw(T min, T max) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange(min, max));
}

// One transaction as the model remembers it.
struct Given {
  int64_t commit_us;
  int64_t stamp_us;
};

RC_GTEST_PROP(StampClockTest, StampsAreTheEarliestThatBreakNoWord, ()) {
  const int64_t floor = Draw<int64_t>(0, 5 * kSecondUs);
  StampClock clock(floor);
  int64_t must_exceed = floor;  // the latest of all that later stamps must be above
  std::vector<Given> given;
  int64_t since = 0;
  int64_t now = floor;
  const int steps = Draw(1, 60);
  for (int i = 0; i < steps; ++i) {
    // A clock that mostly goes on, by little or much, and is sometimes set back.
    now += *rc::gen::weightedOneOf<int64_t>({{6, rc::gen::inRange<int64_t>(0, 5)},
                                             {2, rc::gen::inRange<int64_t>(0, 2 * kSecondUs)},
                                             {1, rc::gen::inRange<int64_t>(-3 * kSecondUs, 0)}});
    switch (*rc::gen::weightedElement<int>({{6, 0}, {2, 1}, {1, 2}})) {
      case 0: {
        const int64_t applied = *rc::gen::oneOf(
            rc::gen::just<int64_t>(0), rc::gen::inRange<int64_t>(now - kSecondUs, now + kSecondUs));
        const int64_t stamp = clock.Next(now, applied);
        RC_ASSERT(stamp == std::max({now, must_exceed + 1, applied + 1}));
        must_exceed = stamp;
        given.push_back({.commit_us = now, .stamp_us = stamp});
        break;
      }
      case 1: {
        const int64_t promise = clock.Promise(now);
        RC_ASSERT(promise == std::max(now, must_exceed));
        must_exceed = promise;
        break;
      }
      default: {
        since = std::max(since, now);
        int64_t at_least = 0;
        int64_t at_most = 0;
        for (const Given& one : given) {
          const int64_t raise = one.stamp_us - one.commit_us;
          at_most = std::max(at_most, raise);
          if (one.commit_us >= since) at_least = std::max(at_least, raise);
        }
        const int64_t largest = clock.LargestRaise(since);
        RC_ASSERT(largest >= at_least);
        RC_ASSERT(largest <= at_most);
        break;
      }
    }
  }
}

}  // namespace
}  // namespace bdr::agent
