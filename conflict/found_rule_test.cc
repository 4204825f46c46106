#include "conflict/found_rule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bdr::conflict {
namespace {

constexpr Stamp kStamp{.time_us = 50, .node = 2};
constexpr Stamp kLater{.time_us = 60, .node = 1};
constexpr IncomingChange kUpdateAt50{.kind = ChangeKind::kUpdate, .stamp = kStamp};
constexpr IncomingChange kDeleteAt50{.kind = ChangeKind::kDelete, .stamp = kStamp};

FoundRow Local(std::optional<int64_t> time_us) {
  return {.own = false, .local_writer = true, .time_us = time_us};
}
FoundRow Remote(std::optional<int64_t> time_us) {
  return {.own = false, .local_writer = false, .time_us = time_us};
}

// VACUUM FREEZE of all databases makes commit times NULL, also of rows seconds old.
TEST(FoundRuleTest, ARowWithoutCommitTimeNeverPassesTheFilter) {
  EXPECT_FALSE(PassesFilter(Local(std::nullopt), kStamp, 0, INT64_MAX));
  const FoundRow frozen = Local(std::nullopt);
  EXPECT_EQ(Judge(kUpdateAt50, &frozen, {}), Verdict::kWait);
  EXPECT_EQ(Judge(kUpdateAt50, &frozen, {.capture_passed = true}), Verdict::kWrite);
  EXPECT_EQ(Judge(kUpdateAt50, &frozen, {.newest = kLater, .capture_passed = true}),
            Verdict::kDrop);
}

TEST(FoundRuleTest, TheFilterAllowsForTheRaiseOfStamps) {
  EXPECT_TRUE(PassesFilter(Local(49), kStamp, 0, INT64_MAX));
  EXPECT_FALSE(PassesFilter(Local(50), kStamp, 0, INT64_MAX));
  EXPECT_FALSE(PassesFilter(Local(45), kStamp, 5, INT64_MAX));
  EXPECT_TRUE(PassesFilter(Local(44), kStamp, 5, INT64_MAX));
  EXPECT_FALSE(PassesFilter(Local(44), kStamp, 5, 43)) << "not seen: to be logged";
}

TEST(FoundRuleTest, RowsOfThisTransactionPassWithoutACommitTime) {
  EXPECT_TRUE(PassesFilter({.own = true}, kStamp, 1000, 0));
}

TEST(FoundRuleTest, WhatARemoteOriginWroteIsDecidedByTheStoreAtOnce) {
  const FoundRow remote = Remote(99);
  EXPECT_EQ(Judge(kUpdateAt50, &remote, {}), Verdict::kWrite);
  EXPECT_EQ(Judge(kUpdateAt50, &remote, {.newest = kLater}), Verdict::kDrop);
}

TEST(FoundRuleTest, AnUpdateOfNothingWaitsForALocalDeleteThatMayBeUnderWay) {
  EXPECT_EQ(Judge(kUpdateAt50, nullptr, {}), Verdict::kWait);
  EXPECT_EQ(Judge(kUpdateAt50, nullptr, {.capture_passed = true}), Verdict::kInsert);
  EXPECT_EQ(Judge(kUpdateAt50, nullptr, {.dead_before = {.time_us = 40, .node = 1}}),
            Verdict::kInsert);
}

// DELETE and INSERT of one key in one transaction, of which only the DELETE was touched by an
// applier: merged again by itself it must not take the new row.
TEST(FoundRuleTest, ADeleteThatItsOwnTransactionUndidIsNotMergedAgain) {
  const FoundRow made_again = Local(50);
  IncomingChange again = kDeleteAt50;
  again.merged_again = true;
  const Known known{.newest = kStamp, .newest_dead = false, .capture_passed = true};
  EXPECT_EQ(Judge(again, &made_again, known), Verdict::kNothing);
  // Coming from elsewhere the whole transaction comes, in its order.
  EXPECT_EQ(Judge(kDeleteAt50, &made_again, known), Verdict::kWrite);
  // A delete that stands is merged.
  EXPECT_EQ(
      Judge(again, &made_again, {.newest = kStamp, .newest_dead = true, .capture_passed = true}),
      Verdict::kWrite);
}

}  // namespace
}  // namespace bdr::conflict
