// A log must neither be filled by what repeats itself nor hide what is new.
#include "base/repetition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bdr {
namespace {

const absl::Time kBegin = absl::UnixEpoch();

TEST(RepetitionTest, WhatBreaksAsSoonAsItStandsIsSaidOnce) {
  Repetition stream;
  absl::Time now = kBegin;
  int lines = 0;
  for (int attempt = 0; attempt < 100; ++attempt, now += absl::Seconds(1)) {
    if (stream.Works(now)) ++lines;
    // Two causes that take turns are no news either.
    if (stream.Failed(attempt % 2 == 0 ? "disk is full" : "was cancelled", now)) ++lines;
  }
  // Both causes, and that it worked before each and once more.
  EXPECT_EQ(lines, 5);
  // It heals: that is said once it stands, with how often it had failed.
  EXPECT_FALSE(stream.Works(now));
  EXPECT_FALSE(stream.Works(now + absl::Seconds(9)));
  EXPECT_TRUE(stream.Works(now + absl::Seconds(10)));
  EXPECT_EQ(stream.LineText("streaming"), "streaming; 98 more failures were not logged");
  EXPECT_EQ(stream.LineText("streaming"), "streaming");
  EXPECT_FALSE(stream.Works(now + absl::Seconds(11)));
  EXPECT_TRUE(stream.Failed("disk is full", now + absl::Seconds(12)));
}

TEST(RepetitionTest, WhatHadHealedIsNewsWhenItFailsAgain) {
  Repetition stream;
  EXPECT_TRUE(stream.Works(kBegin));
  EXPECT_TRUE(stream.Failed("socket closed", kBegin + absl::Seconds(20)));
  EXPECT_TRUE(stream.Works(kBegin + absl::Seconds(21)));
  EXPECT_TRUE(stream.Failed("socket closed", kBegin + absl::Seconds(40)));
}

TEST(RepetitionTest, WhatOnlyFailedIsSaidToWorkAtOnce) {
  Repetition stream;
  for (int attempt = 0; attempt < 10; ++attempt) {
    EXPECT_EQ(stream.Failed("refused", kBegin + absl::Seconds(attempt)), attempt == 0);
  }
  EXPECT_TRUE(stream.Works(kBegin + absl::Seconds(11)));
  EXPECT_EQ(stream.LineText(""), "9 more failures were not logged");
}

TEST(RepetitionTest, WhatGoesOnIsSaidAgainNowAndThen) {
  Repetition stream;
  int lines = 0;
  for (int second = 0; second < 3600; ++second) {
    if (stream.Failed("refused", kBegin + absl::Seconds(second))) ++lines;
  }
  EXPECT_EQ(lines, 6);
}

}  // namespace
}  // namespace bdr
