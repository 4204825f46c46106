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

NodeRows MakeRows(const std::vector<std::pair<std::string, uint64_t>>& rows) {
  NodeRows made;
  for (const auto& [key, hash] : rows) AddRow(made, {key}, hash, "");
  return made;
}

TEST(VerifyTest, BucketsDifferByHashOrByCount) {
  const Buckets a = {{1, 1}, {5, 2}, {7, 3}};
  const Buckets b = {{1, 1}, {6, 2}, {7, 4}};
  EXPECT_THAT(DifferingBuckets({a, a, a}), IsEmpty());
  EXPECT_THAT(DifferingBuckets({a, a, b}), ElementsAre(1, 2));
}

TEST(VerifyTest, RowsDifferWhenOneIsMissingOrHasOtherContent) {
  const RowDifferences differences =
      Differing({MakeRows({{"1", 1}, {"2", 2}, {"3", 3}}), MakeRows({{"1", 1}, {"2", 9}})});
  ASSERT_EQ(differences.size(), 2u);
  EXPECT_EQ(differences.at({"2"})[1]->content, (ContentHash{9, 1}));
  EXPECT_EQ(differences.at({"3"})[1], std::nullopt);
}

TEST(VerifyTest, EqualRowsWithoutAKeyAreCounted) {
  EXPECT_THAT(Differing({MakeRows({{"r", 4}, {"r", 4}}), MakeRows({{"r", 4}, {"r", 4}})}),
              IsEmpty());
  EXPECT_EQ(Differing({MakeRows({{"r", 4}, {"r", 4}}), MakeRows({{"r", 4}})}).size(), 1u);
}

// Written again with the same content: the same row, for all that verify is about.
TEST(VerifyTest, TheVersionIsNoPartOfTheContent) {
  EXPECT_TRUE(SameContent({RowState{{7, 1}, "100"}, RowState{{7, 1}, "200"}}));
  EXPECT_FALSE(SameContent({RowState{{7, 1}, "100"}, std::nullopt}));
  EXPECT_TRUE(SameContent({std::nullopt, std::nullopt}));
}

std::optional<RowState> State(uint64_t hash, const std::string& version) {
  return RowState{{hash, 1}, version};
}

TEST(SettlingTest, ARowThatNobodyWritesIsDifferentAfterThreeLooks) {
  Settling settling;
  const RowDifferences seen = {{{"1"}, {State(1, "5"), State(2, "9")}}};
  settling.Look(seen);
  settling.Look(seen);
  EXPECT_THAT(settling.different(), IsEmpty());
  settling.Look(seen);
  EXPECT_EQ(settling.different().size(), 1u);
  EXPECT_THAT(settling.moving(), IsEmpty());
}

TEST(SettlingTest, WhatWasEqualOnceHasSettled) {
  Settling settling;
  const RowDifferences both = {{{"1"}, {State(1, "5"), State(2, "9")}},
                               {{"2"}, {State(1, "5"), State(2, "9")}}};
  settling.Look(both);
  settling.Look({{{"1"}, {State(1, "5"), State(2, "9")}}});
  EXPECT_EQ(settling.moving().size(), 1u);
  settling.Look(both);
  settling.Look(both);
  EXPECT_EQ(settling.different().count({"1"}), 1u);
  EXPECT_EQ(settling.different().count({"2"}), 0u);
}

// The content toggles between two values, and every look catches the nodes on different ones.
TEST(SettlingTest, AMovingRowIsNeverCalledDifferent) {
  Settling settling;
  for (int look = 0; look < 100; ++look) {
    settling.Look({{{"1"}, {State(1, std::to_string(look)), State(2, "9")}}});
    EXPECT_THAT(settling.different(), IsEmpty());
  }
  EXPECT_EQ(settling.moving().size(), 1u);
}

// One node never shows the row: each time it was deleted there just before. The other has it anew
// each time, which its version tells.
TEST(SettlingTest, ARowThatIsMadeAndDeletedAllTheTimeIsNeverCalledDifferent) {
  Settling settling;
  for (int look = 0; look < 100; ++look) {
    settling.Look({{{"1"}, {State(1, std::to_string(look / 2)), std::nullopt}}});
    EXPECT_THAT(settling.different(), IsEmpty());
  }
}

TEST(VerifyTest, KeysAreNamedByTheirColumns) {
  EXPECT_EQ(KeyText({"id", "region"}, {"1", "it's"}), "id='1', region='it''s'");
  EXPECT_EQ(KeyText({}, {"row 1f"}), "row 1f");
}

TEST(VerifyTest, DifferingColumnsAreThoseOfTheNodesThatHaveTheRow) {
  EXPECT_THAT(DifferingColumns({"a", "b", "c"}, {{1, 2, 3}, {1, 9, 3}, {}}), ElementsAre("b"));
  EXPECT_THAT(DifferingColumns({"a"}, {{1}, {}}), IsEmpty());
}

}  // namespace
}  // namespace bdr::ctl
