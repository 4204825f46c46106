// A change that an applier decided without and that is not merged once more makes nodes differ for
// good; one that is merged for nothing costs work.
#include "node-agent/capture/touched_changes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "conflict/version_store.h"

namespace bdr::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint32_t kOid = 16'400;
constexpr uint32_t kTypeOid = 16'500;
constexpr int64_t kCommitUs = 1'000'000;
constexpr Lsn kBeforeStart{1000};

class TouchedChangesTest : public ::testing::Test {
 protected:
  static std::shared_ptr<const CapturedRelation> Relation() {
    auto relation = std::make_shared<CapturedRelation>();
    relation->message.relation_oid = kOid;
    relation->message.columns = {
        {.is_key = true, .name = "id", .type_oid = kTypeOid, .type_modifier = -1}};
    return relation;
  }
  // A transaction whose stamp lies `raise_us` above its commit time.
  static OwnTransaction Transaction(int64_t raise_us, Lsn end_lsn = Lsn{2000}) {
    OwnTransaction transaction;
    transaction.header.end_lsn = end_lsn;
    transaction.header.stamp = {.time_us = kCommitUs + raise_us, .node = 1};
    transaction.commit = {.xid = 7, .commit_us = kCommitUs};
    return transaction;
  }
  // Of a version key that a table's OID begins.
  static std::string Key(const std::string& key) { return conflict::VersionKey(kOid, key); }
  TouchedChanges::Row Row(const std::string& key, bool dead, absl::string_view change,
                          bool claims = false) {
    return {.relation = relation_,
            .version_key = Key(key),
            .dead = dead,
            .claims = claims,
            .change = change};
  }
  // As an applier does with a group that it writes.
  void AnApplierWrites(const std::string& key, StampRange stamps) {
    auto [registered, keys] = keys_.Register(1, {key}, stamps, absl::Seconds(10));
    ASSERT_TRUE(registered);
    keys.Commit(Lsn{3000});
  }
  std::vector<std::string> MergedAgain() {
    touched_.Look(types_);
    std::vector<std::string> changes;
    for (OwnChange& own : own_changes_.Take(100, absl::ZeroDuration())) {
      EXPECT_THAT(own.types, ElementsAre("type"));
      changes.push_back(std::move(own.change));
    }
    return changes;
  }

  const std::shared_ptr<const CapturedRelation> relation_ = Relation();
  const OwnRelations::Types types_ = {{kTypeOid, "type"}, {kTypeOid + 1, "another"}};
  KeysInFlight keys_;
  OwnChanges own_changes_;
  TouchedChanges touched_{kBeforeStart,
                          {.keys = &keys_, .own_changes = &own_changes_},
                          /*fold_history=*/nullptr,
                          /*settings=*/nullptr};
};

constexpr StampRange kOlder{.oldest_us = 1, .newest_us = kCommitUs - 1};
constexpr StampRange kBetween{.oldest_us = kCommitUs + 1, .newest_us = kCommitUs + 5};

TEST_F(TouchedChangesTest, ADeleteIsMergedAgainWhereAnApplierWrote) {
  ASSERT_NO_FATAL_FAILURE(AnApplierWrites(Key("a"), kOlder));
  touched_.AddRow(Transaction(0), Row("a", /*dead=*/true, "delete a"));
  touched_.AddRow(Transaction(0), Row("b", /*dead=*/true, "delete b"));
  EXPECT_THAT(MergedAgain(), ElementsAre("delete a"));
  EXPECT_THAT(MergedAgain(), IsEmpty()) << "looked at twice";
}

TEST_F(TouchedChangesTest, ARowThatShowsItsStampMisleadsNobody) {
  ASSERT_NO_FATAL_FAILURE(AnApplierWrites(Key("a"), kBetween));
  touched_.AddRow(Transaction(0), Row("a", /*dead=*/false, "insert a"));
  EXPECT_THAT(MergedAgain(), IsEmpty());
}

TEST_F(TouchedChangesTest, ARaisedRowMisleadsAboutWhatLiesBelowItsStamp) {
  ASSERT_NO_FATAL_FAILURE(AnApplierWrites(Key("a"), kBetween));
  ASSERT_NO_FATAL_FAILURE(AnApplierWrites(Key("b"), kOlder));
  touched_.AddRow(Transaction(10), Row("a", /*dead=*/false, "insert a"));
  touched_.AddRow(Transaction(10), Row("b", /*dead=*/false, "insert b"));
  EXPECT_THAT(MergedAgain(), ElementsAre("insert a"));
}

TEST_F(TouchedChangesTest, WhatWasCommittedBeforeTheAgentBeganCountsAsTouched) {
  touched_.AddRow(Transaction(0, kBeforeStart), Row("a", /*dead=*/false, "insert a"));
  touched_.AddRow(Transaction(0, Lsn{kBeforeStart.value + 1}), Row("b", false, "insert b"));
  EXPECT_THAT(MergedAgain(), ElementsAre("insert a"));
}

TEST_F(TouchedChangesTest, ATruncateTouchesWhatWasWrittenInItsTable) {
  touched_.AddTruncate(Transaction(0), relation_, "truncate");
  EXPECT_THAT(MergedAgain(), IsEmpty());
  ASSERT_NO_FATAL_FAILURE(AnApplierWrites(Key("a"), kOlder));
  touched_.AddTruncate(Transaction(0), relation_, "truncate");
  EXPECT_THAT(MergedAgain(), ElementsAre("truncate"));
}

TEST_F(TouchedChangesTest, AClaimThatAnApplierHasTakenAsWellIsMergedAgain) {
  touched_.AddRow(Transaction(0), Row("a", /*dead=*/false, "insert a", /*claims=*/true));
  const std::vector<TouchedChanges::Claiming> claiming = touched_.TakeClaiming();
  ASSERT_EQ(claiming.size(), 1u);
  EXPECT_EQ(claiming[0].change, "insert a");
  *claiming[0].in_flight = {"value"};
  EXPECT_THAT(touched_.TakeClaiming(), IsEmpty()) << "read twice";
  ASSERT_NO_FATAL_FAILURE(AnApplierWrites("value", kOlder));
  EXPECT_THAT(MergedAgain(), ElementsAre("insert a"));
}

TEST_F(TouchedChangesTest, WhatTheSameTransactionReplacedClaimsNothing) {
  ASSERT_NO_FATAL_FAILURE(AnApplierWrites(Key("a"), kBetween));
  const OwnTransaction first = Transaction(10);
  touched_.AddRow(first, Row("a", /*dead=*/false, "insert a", /*claims=*/true));
  touched_.AddRow(first, Row("a", /*dead=*/false, "update a", /*claims=*/true));
  touched_.Begin();
  touched_.AddRow(Transaction(11), Row("a", /*dead=*/false, "later a", /*claims=*/true));
  std::vector<std::string> changes;
  for (const TouchedChanges::Claiming& one : touched_.TakeClaiming()) {
    changes.emplace_back(one.change);
  }
  EXPECT_THAT(changes, ElementsAre("update a", "later a"));
  EXPECT_THAT(MergedAgain(), ElementsAre("update a", "later a"));
}

TEST_F(TouchedChangesTest, ADeadRowClaimsNothing) {
  touched_.AddRow(Transaction(0), Row("a", /*dead=*/true, "delete a", /*claims=*/true));
  EXPECT_THAT(touched_.TakeClaiming(), IsEmpty());
}

}  // namespace
}  // namespace bdr::agent
