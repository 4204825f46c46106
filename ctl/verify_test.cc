// What counts as different, and when a difference under load is one.
#include "ctl/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace bdr::ctl {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Rows MakeRows(std::vector<std::pair<std::string, uint64_t>> rows) {
  Rows made;
  for (auto& [key, hash] : rows) AddRow(made, key, hash);
  return made;
}

TEST(VerifyTest, BucketsDifferByHashOrByCount) {
  const Buckets a = {{1, 1}, {5, 2}, {7, 3}};
  const Buckets b = {{1, 1}, {6, 2}, {7, 4}};
  EXPECT_THAT(DifferingBuckets({a, a, a}), IsEmpty());
  EXPECT_THAT(DifferingBuckets({a, a, b}), ElementsAre(1, 2));
  const Differences named = BucketDifferences({a, b}, {1});
  ASSERT_EQ(named.count("bucket 1"), 1u);
  EXPECT_EQ(named.at("bucket 1")[1], (ContentHash{6, 2}));
}

TEST(VerifyTest, RowsDifferWhenOneIsMissingOrHasOtherContent) {
  const Differences differences =
      RowDifferences({MakeRows({{"id='1'", 1}, {"id='2'", 2}, {"id='3'", 3}}),
                      MakeRows({{"id='1'", 1}, {"id='2'", 9}})});
  ASSERT_EQ(differences.size(), 2u);
  EXPECT_EQ(differences.at("id='2'")[1], (ContentHash{9, 1}));
  EXPECT_EQ(differences.at("id='3'")[1], std::nullopt);
}

TEST(VerifyTest, EqualRowsWithoutAKeyAreCounted) {
  EXPECT_THAT(RowDifferences({MakeRows({{"r", 4}, {"r", 4}}), MakeRows({{"r", 4}, {"r", 4}})}),
              IsEmpty());
  EXPECT_EQ(RowDifferences({MakeRows({{"r", 4}, {"r", 4}}), MakeRows({{"r", 4}})}).size(), 1u);
}

Differences Differ(std::vector<std::pair<std::string, uint64_t>> keys) {
  Differences differences;
  for (const auto& [key, hash] : keys) differences[key] = {ContentHash{hash, 1}, std::nullopt};
  return differences;
}

absl::Time At(int seconds) { return absl::FromUnixSeconds(1000 + seconds); }

TEST(VerifyTest, WhatWasEqualOnceHasSettled) {
  Pending pending;
  pending.Look(Differ({{"a", 1}, {"b", 1}}), true, At(0));
  pending.Look(Differ({{"b", 2}, {"new", 1}}), true, At(1));  // "new" was equal in the first look
  EXPECT_EQ(pending.left().size(), 1u);
  EXPECT_EQ(pending.left().count("b"), 1u);
  pending.Look({}, true, At(2));
  EXPECT_TRUE(pending.empty());
  pending.Look(Differ({{"b", 2}}), true, At(3));
  EXPECT_TRUE(pending.empty());
}

TEST(VerifyTest, OnlyWhatStaysTheSameIsStable) {
  Pending pending;
  const absl::Duration three = absl::Seconds(3);
  pending.Look(Differ({{"a", 1}, {"b", 1}}), true, At(0));
  EXPECT_THAT(pending.StableFor(three), IsEmpty());  // one look proves nothing
  pending.Look(Differ({{"a", 1}, {"b", 2}}), true, At(2));
  EXPECT_THAT(pending.StableFor(three), IsEmpty());
  pending.Look(Differ({{"a", 1}, {"b", 2}}), true, At(3));
  EXPECT_THAT(pending.StableFor(three), ElementsAre("a"));
  pending.Look(Differ({{"a", 1}, {"b", 2}}), true, At(5));
  EXPECT_THAT(pending.StableFor(three), ElementsAre("a", "b"));
  pending.Look(Differ({{"a", 7}, {"b", 2}}), true, At(6));
  EXPECT_THAT(pending.StableFor(three), ElementsAre("b"));
}

TEST(VerifyTest, RowsAndBucketsAreNotTakenForEachOther) {
  Pending pending;
  pending.Look(Differ({{"bucket 7", 1}}), false, At(0));
  pending.Look(Differ({{"id='1'", 1}}), true, At(9));
  EXPECT_TRUE(pending.by_row());
  EXPECT_EQ(pending.left().count("id='1'"), 1u);
  EXPECT_THAT(pending.StableFor(absl::Seconds(1)), IsEmpty());
}

}  // namespace
}  // namespace bdr::ctl
