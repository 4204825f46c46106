// A slow answer must not look like a wrong clock, nor hide one.
#include "node-agent/check/clocks.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bdr::agent {
namespace {

using pg_setup::Finding;
using ::testing::HasSubstr;

constexpr absl::Duration kMaxSkew = absl::Milliseconds(500);

Finding Only(std::optional<ClockReading> bdr_server, std::optional<ClockReading> postgres) {
  const pg_setup::Checked checked = CheckClocks(bdr_server, postgres, kMaxSkew);
  EXPECT_EQ(checked.findings.size(), 1u);
  return checked.findings.empty() ? Finding() : checked.findings.front();
}

TEST(ClocksTest, AReadingIsTheMiddleOfTheRoundTrip) {
  const ClockReading reading = ClockReading::Of(/*shown_us=*/5'000, 1'000, 3'000);
  EXPECT_EQ(reading.ahead_us, 3'000);
  EXPECT_EQ(reading.uncertain_us, 1'000);
}

TEST(ClocksTest, PostgresIsComparedWithBdrServerWhateverOurOwnClockSays) {
  const ClockReading hour_behind_us{.ahead_us = -3'600'000'000};
  EXPECT_EQ(Only(hour_behind_us, hour_behind_us).level, Finding::Level::kOk);
  const Finding ahead = Only(ClockReading{.ahead_us = 0}, ClockReading{.ahead_us = 3'000'000});
  EXPECT_EQ(ahead.level, Finding::Level::kWarning);
  EXPECT_THAT(ahead.what, HasSubstr("PostgreSQL's clock is 3.0s ahead of bdr-server's"));
  EXPECT_THAT(Only(ClockReading{.ahead_us = 3'000'000}, std::nullopt).what,
              HasSubstr("this machine's clock is 3.0s behind bdr-server's"));
}

TEST(ClocksTest, WhatTheRoundTripsMayHaveCostIsNoSkew) {
  const ClockReading slow{.ahead_us = 900'000, .uncertain_us = 450'000};
  EXPECT_EQ(Only(ClockReading{}, slow).level, Finding::Level::kOk);
  EXPECT_EQ(Only(ClockReading{}, ClockReading{.ahead_us = 900'000}).level,
            Finding::Level::kWarning);
}

TEST(ClocksTest, WithoutBdrServerThereIsNothingToSay) {
  EXPECT_TRUE(CheckClocks(std::nullopt, ClockReading{.ahead_us = 1}, kMaxSkew).findings.empty());
}

}  // namespace
}  // namespace bdr::agent
