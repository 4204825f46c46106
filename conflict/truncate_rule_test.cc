// A TRUNCATE must kill the same rows on every node: those whose versions are older, and no others,
// whatever their commit times look like there.
#include "conflict/truncate_rule.h"

#include <gtest/gtest.h>

namespace bdr::conflict {
namespace {

constexpr NodeId kOwn = 2;
constexpr Stamp kTruncate{.time_us = 1000, .node = 3};

TEST(TruncateRuleTest, TheStoreDecidesAboutWhatOtherOriginsWrote) {
  // Applied in a group whose newest transaction was later than the row's own.
  const RowMet row{.local_writer = false, .time_us = 2000};
  EXPECT_EQ(JudgeTruncated(kTruncate, row, kOwn, Stamp{.time_us = 999, .node = 1}),
            TruncateVerdict::kDies);
  EXPECT_EQ(JudgeTruncated(kTruncate, row, kOwn, Stamp{.time_us = 1001, .node = 1}),
            TruncateVerdict::kStays);
  EXPECT_EQ(JudgeTruncated(kTruncate, row, kOwn, Stamp{.time_us = 1000, .node = 4}),
            TruncateVerdict::kStays);
  EXPECT_EQ(JudgeTruncated(kTruncate, row, kOwn, Stamp{.time_us = 1000, .node = 1}),
            TruncateVerdict::kDies);
}

TEST(TruncateRuleTest, WhatTheStoreHasForgottenIsOlder) {
  EXPECT_EQ(JudgeTruncated(kTruncate, {.local_writer = false, .time_us = {}}, kOwn, {}),
            TruncateVerdict::kDies);
  EXPECT_EQ(
      JudgeTruncated(kTruncate, {.local_writer = true, .time_us = {}, .captured = true}, kOwn, {}),
      TruncateVerdict::kDies);
}

TEST(TruncateRuleTest, ALocalRowThatMayBeUncapturedIsNotDecidedUnlessItIsSurelyNewer) {
  RowMet row{.local_writer = true, .time_us = 990};
  EXPECT_EQ(JudgeTruncated(kTruncate, row, kOwn, {}), TruncateVerdict::kWait);
  // The version known is an older one of the same key.
  EXPECT_EQ(JudgeTruncated(kTruncate, row, kOwn, Stamp{.time_us = 980, .node = kOwn}),
            TruncateVerdict::kWait);
  EXPECT_EQ(JudgeTruncated(kTruncate, row, kOwn, Stamp{.time_us = 1001, .node = kOwn}),
            TruncateVerdict::kStays);
  row.time_us = 1001;  // or that of an ALTER TABLE which rewrote it
  EXPECT_EQ(JudgeTruncated(kTruncate, row, kOwn, {}), TruncateVerdict::kWait);
  row.waited = true;
  EXPECT_EQ(JudgeTruncated(kTruncate, row, kOwn, {}), TruncateVerdict::kStays);
  row.time_us.reset();
  EXPECT_EQ(JudgeTruncated(kTruncate, row, kOwn, {}), TruncateVerdict::kWait);
}

TEST(TruncateRuleTest, WhatItsOwnTransactionWroteAfterItStays) {
  EXPECT_EQ(JudgeTruncated(kTruncate, {.local_writer = true, .time_us = 1000, .captured = true},
                           kTruncate.node, kTruncate),
            TruncateVerdict::kStays);
}

// The newest version known of the key is one that the transaction truncated itself, or has yet to
// write: the row that stands is another one.
TEST(TruncateRuleTest, AnAppliedRowIsNoneOfTheTruncatesOwnTransaction) {
  const RowMet row{.local_writer = false, .time_us = 1000, .applied = true};
  EXPECT_EQ(JudgeTruncated(kTruncate, row, kTruncate.node, kTruncate), TruncateVerdict::kDies);
  EXPECT_EQ(JudgeTruncated(kTruncate, row, kOwn, kTruncate), TruncateVerdict::kDies);
  EXPECT_EQ(JudgeTruncated(kTruncate, row, kTruncate.node, Stamp{.time_us = 1001, .node = 1}),
            TruncateVerdict::kStays);
  EXPECT_EQ(JudgeTruncated(kTruncate, {.local_writer = true, .time_us = 999, .captured = true},
                           kOwn, kTruncate),
            TruncateVerdict::kDies)
      << "a local row, where another node's TRUNCATE arrives";
}

}  // namespace
}  // namespace bdr::conflict
