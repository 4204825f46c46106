// What stands in the table may be a local commit that capture has not read yet, or only look like
// one. These tests pin what becomes of it when a change comes from elsewhere.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/testing.h"
#include "node-agent/apply/write/fold_key.h"

namespace bdr::agent {
namespace {

using conflict::FoldChange;
using conflict::FoldRow;

FoldRow Row(const std::string& value) {
  return {{.kind = conflict::FoldValue::Kind::kValue, .data = value}};
}

// A key whose base another node wrote; `found` stands there by a local commit of time 100, and
// the other node's deletion, stamped 50, is new.
class UncapturedRowTest : public testing::Test {
 protected:
  FoldQuery Query(const std::string& base, const std::string& found) {
    FoldQuery query;
    query.history.base.emplace();
    query.history.base->state = {.row = Row(base), .stamp = {.time_us = 10, .node = 2}};
    query.history.base->through = {.time_us = 10, .node = 2};
    query.history.entries.push_back({.change = {.kind = conflict::ChangeKind::kDelete,
                                                .stamp = {.time_us = 50, .node = 2},
                                                .origin = {.node = 2, .incarnation = 1},
                                                .old_row = Row(base)}});
    query.found = FoldFound{.row = Row(found), .local = true, .time_us = 100};
    query.is_new = [](const FoldChange&) { return true; };
    query.local_policy = &policy_;
    query.policy_of = [this](const FoldChange&) -> const conflict::FoldPolicy& { return policy_; };
    return query;
  }
  const conflict::FoldPolicy policy_{.kind = conflict::PolicyKind::kColumnMerge};
};

TEST_F(UncapturedRowTest, ALocalCommitThatChangedNothingHoldsUpNothing) {
  ASSERT_OK_AND_ASSIGN(const FoldResult result, FoldKey(Query("a", "a")));
  EXPECT_FALSE(result.must_wait);
  EXPECT_EQ(result.target, std::nullopt);
}

TEST_F(UncapturedRowTest, WaitsForCaptureBeforeItGuesses) {
  ASSERT_OK_AND_ASSIGN(const FoldResult result, FoldKey(Query("a", "b")));
  EXPECT_TRUE(result.must_wait);
}

TEST_F(UncapturedRowTest, WhatIsNeverCapturedDoesNotStay) {
  FoldQuery query = Query("a", "b");
  query.asked = query.waited = true;
  ASSERT_OK_AND_ASSIGN(const FoldResult result, FoldKey(std::move(query)));
  EXPECT_FALSE(result.must_wait);
  EXPECT_EQ(result.target, std::nullopt);
}

TEST_F(UncapturedRowTest, GuessesWhereTheRowNeverStandsStill) {
  FoldQuery query = Query("a", "b");
  query.asked = true;
  ASSERT_OK_AND_ASSIGN(const FoldResult result, FoldKey(std::move(query)));
  EXPECT_FALSE(result.must_wait);
  EXPECT_EQ(result.target, Row("b"));
}

}  // namespace
}  // namespace bdr::agent
