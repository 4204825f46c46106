// What people see of a peer's clock must be the clock, not the network.
#include "node-agent/stream/clock_skew.h"

#include <gtest/gtest.h>

namespace bdr::agent {
namespace {

TEST(ClockSkewTest, HalfTheRoundTripIsAdded) {
  ClockSkew skew;
  skew.Add(/*peer_us=*/1'000'000, /*own_us=*/1'040'000, std::nullopt);
  EXPECT_EQ(skew.skew_us(), -40'000);  // all that is known so far
  EXPECT_EQ(skew.doubt_us(), 0);
  // Both clocks are equal; each way takes 40 ms.
  skew.Add(2'000'000, 2'040'000, 80'000);
  EXPECT_EQ(skew.skew_us(), 0);
  EXPECT_EQ(skew.doubt_us(), 40'000);
  skew.Add(3'000'000, 3'300'000, std::nullopt);  // queued behind something
  EXPECT_EQ(skew.skew_us(), 0);
}

TEST(ClockSkewTest, TheShortestWayCounts) {
  ClockSkew skew;
  skew.Add(5'010'000, 5'000'500, 1'000);
  // The answer took 400 ms and the question none, which half of the sum does not tell.
  skew.Add(6'010'000, 6'400'000, 400'000);
  EXPECT_EQ(skew.skew_us(), 10'000);
  EXPECT_EQ(skew.doubt_us(), 500);
}

TEST(ClockSkewTest, AStepOfTheClockIsSeenAfterAFewReadings) {
  ClockSkew skew;
  for (int i = 0; i < 10; ++i) skew.Add(1'000, 1'000, 0);
  for (int i = 0; i < 4; ++i) skew.Add(6'000'000, 1'000'000, 500);
  EXPECT_EQ(skew.skew_us(), 5'000'250);
}

}  // namespace
}  // namespace bdr::agent
