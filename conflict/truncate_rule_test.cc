// A TRUNCATE must kill the same rows on every node: those whose versions are older, and no others,
// whatever their commit times look like there.
#include "conflict/truncate_rule.h"

#include <gtest/gtest.h>

#include <optional>

namespace bdr::conflict {
namespace {

constexpr NodeId kOwn = 2;
constexpr Stamp kStamp{.time_us = 1000, .node = 3};
// A raise at which no time of these tests is surely older.
constexpr TruncateChange kTruncate{.stamp = kStamp, .own_node = kOwn, .largest_raise_us = 100};
// As it is merged again where it was made.
constexpr TruncateChange kAgain{
    .stamp = kStamp, .own_node = kStamp.node, .merged_again = true, .largest_raise_us = 100};

FoundRow Local(std::optional<int64_t> time_us) {
  return {.writer = Writer::kLocal, .time_us = time_us};
}
FoundRow Applied(std::optional<int64_t> time_us) {
  return {.writer = Writer::kNode, .node = 1, .time_us = time_us};
}
FoundRow Repaired(std::optional<int64_t> time_us) {
  return {.writer = Writer::kNode, .node = 0, .time_us = time_us};
}

TEST(TruncateRuleTest, TheStoreDecidesAboutWhatOtherOriginsWrote) {
  // Applied in a group whose newest transaction was later than the row's own.
  const FoundRow row = Applied(2000);
  EXPECT_EQ(JudgeTruncated(kTruncate, row, {.newest = {.time_us = 999, .node = 1}}),
            TruncateVerdict::kDies);
  EXPECT_EQ(JudgeTruncated(kTruncate, row, {.newest = {.time_us = 1001, .node = 1}}),
            TruncateVerdict::kStays);
  EXPECT_EQ(JudgeTruncated(kTruncate, row, {.newest = {.time_us = 1000, .node = 4}}),
            TruncateVerdict::kStays);
  EXPECT_EQ(JudgeTruncated(kTruncate, row, {.newest = {.time_us = 1000, .node = 1}}),
            TruncateVerdict::kDies);
}

TEST(TruncateRuleTest, WhatTheStoreHasForgottenIsOlder) {
  EXPECT_EQ(JudgeTruncated(kTruncate, Applied({}), {}), TruncateVerdict::kDies);
  EXPECT_EQ(JudgeTruncated(kTruncate, Local({}), {.captured = true}), TruncateVerdict::kDies);
}

TEST(TruncateRuleTest, WhatIsSurelyOlderDiesWithoutTheStore) {
  EXPECT_FALSE(MaybeNewer(kTruncate, Local(899)));
  EXPECT_EQ(JudgeTruncated(kTruncate, Local(899), {}), TruncateVerdict::kDies);
  EXPECT_TRUE(MaybeNewer(kTruncate, Local(900)));
  EXPECT_FALSE(MaybeNewer(kTruncate, {.writer = Writer::kThisTransaction}));
  // An own TRUNCATE has really run here: what users left was written behind it.
  EXPECT_TRUE(MaybeNewer(kAgain, Local(899)));
  EXPECT_TRUE(MaybeNewer(kAgain, {.writer = Writer::kNode, .node = 3, .time_us = 899}));
  EXPECT_FALSE(MaybeNewer(kAgain, Applied(899)));
}

TEST(TruncateRuleTest, ALocalRowThatMayBeUncapturedIsNotDecidedUnlessItIsSurelyNewer) {
  EXPECT_EQ(JudgeTruncated(kTruncate, Local(990), {}), TruncateVerdict::kWait);
  // The version known is an older one of the same key.
  EXPECT_EQ(JudgeTruncated(kTruncate, Local(990), {.newest = {.time_us = 980, .node = kOwn}}),
            TruncateVerdict::kWait);
  EXPECT_EQ(JudgeTruncated(kTruncate, Local(990), {.newest = {.time_us = 1001, .node = kOwn}}),
            TruncateVerdict::kStays);
  // Or that of an ALTER TABLE which rewrote it.
  EXPECT_EQ(JudgeTruncated(kTruncate, Local(1001), {}), TruncateVerdict::kWait);
  EXPECT_EQ(JudgeTruncated(kTruncate, Local(1001), {.waited = true}), TruncateVerdict::kStays);
  EXPECT_EQ(JudgeTruncated(kTruncate, Local({}), {.waited = true}), TruncateVerdict::kWait);
}

TEST(TruncateRuleTest, WhatItsOwnTransactionWroteAfterItStays) {
  EXPECT_EQ(JudgeTruncated(kAgain, Local(1000), {.newest = kStamp, .captured = true}),
            TruncateVerdict::kStays);
  EXPECT_EQ(JudgeTruncated(kAgain, Repaired(1000), {.newest = kStamp}), TruncateVerdict::kStays);
}

// The newest version known of the key is one that the transaction truncated itself, or has yet to
// write: the row that stands is another one.
TEST(TruncateRuleTest, AnAppliedRowIsNoneOfTheTruncatesOwnTransaction) {
  EXPECT_EQ(JudgeTruncated(kAgain, Applied(1000), {.newest = kStamp}), TruncateVerdict::kDies);
  EXPECT_EQ(JudgeTruncated(kTruncate, Applied(1000), {.newest = kStamp}), TruncateVerdict::kDies);
  EXPECT_EQ(JudgeTruncated(kAgain, Applied(1000), {.newest = {.time_us = 1001, .node = 1}}),
            TruncateVerdict::kStays);
  EXPECT_EQ(JudgeTruncated(kTruncate, Local(999), {.newest = kStamp, .captured = true}),
            TruncateVerdict::kDies)
      << "a local row, where another node's TRUNCATE arrives";
}

}  // namespace
}  // namespace bdr::conflict
