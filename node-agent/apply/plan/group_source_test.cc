// How large a group may be, and whether its transactions may be applied: pure arithmetic, which
// users feel as locks that are held too long, or as changes that come too early.
#include <gtest/gtest.h>

#include "node-agent/apply/plan/group_sizer.h"
#include "node-agent/apply/plan/readiness.h"

namespace bdr::agent {
namespace {

constexpr GroupSizer::Limits kLimits{
    .transactions = 100, .bytes = 1000, .time = absl::Milliseconds(200)};

TEST(GroupSizerTest, AGroupEndsAtItsTransactionsAndItsBytes) {
  const GroupSizer sizer(kLimits);
  EXPECT_TRUE(sizer.HasRoom(99, 999));
  EXPECT_FALSE(sizer.HasRoom(100, 0));
  EXPECT_FALSE(sizer.HasRoom(1, 1000));
}

TEST(GroupSizerTest, WhatHeldItsLocksTooLongIsFollowedByWhatFits) {
  GroupSizer sizer(kLimits);
  sizer.Took(100, absl::Seconds(2));
  EXPECT_EQ(sizer.most_transactions(), 10u);
  sizer.Took(1, absl::Hours(1));
  EXPECT_EQ(sizer.most_transactions(), 1u) << "one has to go";
}

TEST(GroupSizerTest, ItGrowsSlowlyAndNeverBeyondTheLimit) {
  GroupSizer sizer(kLimits);
  sizer.Took(100, absl::Seconds(2));
  sizer.Took(10, absl::Milliseconds(1));
  EXPECT_EQ(sizer.most_transactions(), 12u);
  for (int i = 0; i < 100; ++i) sizer.Took(10, absl::Milliseconds(1));
  EXPECT_EQ(sizer.most_transactions(), 100u);
}

TEST(GroupSizerTest, HalvesEndAtOne) {
  EXPECT_EQ(GroupSizer::Smaller(9), 4u);
  EXPECT_EQ(GroupSizer::Smaller(1), 1u);
}

TEST(ReadinessTest, WhatIsWholeAndHasAllBeforeItIsReady) { EXPECT_EQ(Look({}), Readiness::kReady); }

TEST(ReadinessTest, ItsOwnRestComesBeforeWhatOthersCommitted) {
  const OriginLsn missing{.origin = {.node = 3, .incarnation = 1}, .lsn = Lsn{7}};
  EXPECT_EQ(Look({.complete = false, .missing = missing}), Readiness::kWaitForRest);
  EXPECT_EQ(Look({.missing = missing, .made_under = 9}), Readiness::kWaitForOrigin);
}

TEST(ReadinessTest, SettingsAreRaisedOnlyToWhatIsKnown) {
  EXPECT_EQ(Look({.made_under = 4, .active_settings = 4, .known_settings = 4}), Readiness::kReady);
  EXPECT_EQ(Look({.made_under = 5, .active_settings = 4, .known_settings = 5}),
            Readiness::kRaiseSettings);
  EXPECT_EQ(Look({.made_under = 6, .active_settings = 4, .known_settings = 5}),
            Readiness::kUnknownSettings);
}

}  // namespace
}  // namespace bdr::agent
