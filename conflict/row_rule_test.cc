#include "conflict/row_rule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "conflict/row_filter.h"

namespace bdr::conflict {
namespace {

// --- histories ---

struct Change {
  ChangeKind kind;
  int key;
  int value;
  Stamp stamp;
};

// One node that does what Decide() says, and keeps the newest version of each key as the store
// does.
class Node {
 public:
  void Merge(const Change& change) {
    KnownVersion& newest = newest_[change.key];
    const auto row = rows_.find(change.key);
    const FoundRow found{.writer = Writer::kNode, .node = newest.stamp.node};
    const Decision decision =
        Decide({.kind = change.kind, .stamp = change.stamp}, row == rows_.end() ? nullptr : &found,
               {.before = newest, .newest = newest, .capture_passed = true});
    switch (decision.verdict) {
      case Verdict::kDrop:
        return;
      case Verdict::kWrite:
      case Verdict::kInsert:
        if (change.kind == ChangeKind::kDelete) {
          rows_.erase(change.key);
        } else {
          rows_[change.key] = change.value;
        }
        break;
      case Verdict::kNothing:
        break;
      default:
        RC_FAIL("a verdict that nothing here asks for");
    }
    newest = {.stamp = change.stamp, .dead = change.kind == ChangeKind::kDelete};
  }
  const std::map<int, int>& rows() const { return rows_; }

 private:
  std::map<int, KnownVersion> newest_;
  std::map<int, int> rows_;
};

// Changes of a few origins on a few keys; within an origin the stamps rise, sometimes two changes
// share one (a transaction).
std::vector<std::vector<Change>> ArbitraryHistory() {
  const int origins = *rc::gen::inRange(2, 5);
  std::vector<std::vector<Change>> history(origins);
  for (int o = 0; o < origins; ++o) {
    int64_t time = 0;
    const int changes = *rc::gen::inRange(0, 8);
    for (int c = 0; c < changes; ++c) {
      time += *rc::gen::inRange(c == 0 ? 1 : 0, 4);
      history[o].push_back(
          {.kind = *rc::gen::element(ChangeKind::kInsert, ChangeKind::kUpdate, ChangeKind::kDelete),
           .key = *rc::gen::inRange(0, 3),
           .value = o * 100 + c,
           .stamp = {.time_us = time, .node = static_cast<NodeId>(o + 1)}});
    }
  }
  return history;
}

Node MergeInArbitraryOrder(const std::vector<std::vector<Change>>& history) {
  Node node;
  std::vector<size_t> next(history.size(), 0);
  while (true) {
    std::vector<size_t> left;
    for (size_t o = 0; o < history.size(); ++o) {
      if (next[o] < history[o].size()) left.push_back(o);
    }
    if (left.empty()) return node;
    const size_t o = *rc::gen::elementOf(left);
    node.Merge(history[o][next[o]++]);
  }
}

// Whatever order the origins' changes arrive in, all nodes must end with the same rows.
RC_GTEST_PROP(RowRuleTest, AnyOrderOfArrivalGivesOneResult, ()) {
  const auto history = ArbitraryHistory();
  const Node first = MergeInArbitraryOrder(history);
  const Node second = MergeInArbitraryOrder(history);
  RC_ASSERT(first.rows() == second.rows());
}

// A crash lets the tail of an origin's stream come again.
RC_GTEST_PROP(RowRuleTest, RedeliveryOfATailChangesNothing, ()) {
  const auto history = ArbitraryHistory();
  Node node = MergeInArbitraryOrder(history);
  const std::map<int, int> before = node.rows();
  for (const std::vector<Change>& origin : history) {
    // Whole transactions come again, never a part of one.
    size_t from = *rc::gen::inRange<size_t>(0, origin.size() + 1);
    while (from > 0 && from < origin.size() && origin[from].stamp == origin[from - 1].stamp) --from;
    for (size_t i = from; i < origin.size(); ++i) node.Merge(origin[i]);
  }
  RC_ASSERT(node.rows() == before);
}

// --- single decisions ---

constexpr NodeId kOwn = 1;
constexpr Stamp kStamp{.time_us = 50, .node = 2};
constexpr Stamp kOlder{.time_us = 40, .node = 1};
constexpr Stamp kLater{.time_us = 60, .node = 1};

RowChange At50(ChangeKind kind) { return {.kind = kind, .stamp = kStamp, .seen = {.origin = 2}}; }

FoundRow Local(std::optional<int64_t> time_us) {
  return {.writer = Writer::kLocal, .time_us = time_us};
}
FoundRow Remote(std::optional<int64_t> time_us) {
  return {.writer = Writer::kNode, .node = 3, .time_us = time_us};
}

Known Newest(Stamp stamp, bool dead = false) {
  return {.before = {.stamp = stamp, .dead = dead},
          .newest = {.stamp = stamp, .dead = dead},
          .capture_passed = true,
          .own_node = kOwn};
}

TEST(RowRuleTest, EqualTimesFallToTheHigherNodeOnBothNodes) {
  const Stamp eu{.time_us = 7, .node = 1};
  const Stamp us{.time_us = 7, .node = 2};
  const FoundRow row = Remote(7);
  EXPECT_EQ(Decide({.stamp = us}, &row, Newest(eu)).verdict, Verdict::kWrite);
  EXPECT_EQ(Decide({.stamp = eu}, &row, Newest(us)).verdict, Verdict::kDrop);
}

// The version known of the key decides, and says which conflict it is.
TEST(RowRuleTest, EachChangeMeetsARowOrATombstone) {
  struct Case {
    ChangeKind kind;
    ConflictKind against_row;
    ConflictKind against_tombstone;
  };
  const Case cases[] = {
      {ChangeKind::kInsert, ConflictKind::kInsertExists, ConflictKind::kInsertDeleted},
      {ChangeKind::kUpdate, ConflictKind::kUpdateOriginDiffers, ConflictKind::kUpdateDeleted},
      {ChangeKind::kDelete, ConflictKind::kDeleteOriginDiffers, ConflictKind::kDeleteMissing}};
  const FoundRow row = Remote(40);
  for (const Case& each : cases) {
    const RowChange change = At50(each.kind);
    const bool is_delete = each.kind == ChangeKind::kDelete;
    // Against what is newer: dropped, without a look at the row.
    Decision decision = Decide(change, nullptr, Newest(kLater));
    EXPECT_EQ(decision.verdict, Verdict::kDrop);
    EXPECT_EQ(decision.conflict, each.against_row);
    EXPECT_EQ(decision.winner, Winner::kLocal);
    EXPECT_EQ(decision.rule, Rule::kNewerKnown);
    decision = Decide(change, nullptr, Newest(kLater, /*dead=*/true));
    EXPECT_EQ(decision.verdict, Verdict::kDrop);
    EXPECT_EQ(decision.conflict, each.against_tombstone);
    // Against what is older: it wins.
    decision = Decide(change, &row, Newest(kOlder));
    EXPECT_EQ(decision.verdict, Verdict::kWrite);
    EXPECT_EQ(decision.conflict, each.against_row);
    EXPECT_EQ(decision.winner, Winner::kRemote);
    EXPECT_EQ(decision.rule, Rule::kOlderKnown);
    decision = Decide(change, nullptr, Newest(kOlder, /*dead=*/true));
    EXPECT_EQ(decision.verdict, is_delete ? Verdict::kNothing : Verdict::kInsert);
    EXPECT_EQ(decision.conflict, each.against_tombstone);
  }
}

TEST(RowRuleTest, NothingThatItsTransactionHadSeenIsAConflict) {
  const SeenTime seen[] = {{.node = kLater.node, .time_us = kOlder.time_us}};
  RowChange change = At50(ChangeKind::kUpdate);
  change.seen.others = seen;
  const FoundRow row = Remote(40);
  const Decision decision = Decide(change, &row, Newest(kOlder));
  EXPECT_EQ(decision.verdict, Verdict::kWrite);
  EXPECT_EQ(decision.conflict, ConflictKind::kNone);
  EXPECT_EQ(Decide(change, &row, Newest(kLater)).conflict, ConflictKind::kUpdateOriginDiffers);
}

TEST(RowRuleTest, InsertIntoNothingIsNoConflict) {
  EXPECT_EQ(Decide(At50(ChangeKind::kInsert), nullptr, Newest(kNever)).conflict,
            ConflictKind::kNone);
  EXPECT_EQ(Decide(At50(ChangeKind::kUpdate), nullptr, Newest(kNever)).conflict,
            ConflictKind::kUpdateMissing);
  EXPECT_EQ(Decide(At50(ChangeKind::kDelete), nullptr, Newest(kNever)).conflict,
            ConflictKind::kDeleteMissing);
}

TEST(RowRuleTest, WithinOneTransactionTheLaterChangeWins) {
  const FoundRow own{.writer = Writer::kThisTransaction};
  EXPECT_EQ(Decide(At50(ChangeKind::kInsert), nullptr, Newest(kStamp, /*dead=*/true)).verdict,
            Verdict::kInsert);
  EXPECT_EQ(Decide(At50(ChangeKind::kDelete), &own, Newest(kStamp)).verdict, Verdict::kWrite);
}

// VACUUM FREEZE of all databases makes commit times NULL, also of rows seconds old.
TEST(RowRuleTest, ARowWithoutCommitTimeIsWaitedFor) {
  const FoundRow frozen = Local(std::nullopt);
  const RowChange update = At50(ChangeKind::kUpdate);
  EXPECT_FALSE(PassesFilter(frozen, kStamp, 0, INT64_MAX));
  EXPECT_EQ(Decide(update, &frozen, {}).verdict, Verdict::kWait);
  EXPECT_EQ(Decide(update, &frozen, {.capture_passed = true}).verdict, Verdict::kWrite);
  const Decision decision =
      Decide(update, &frozen, {.newest = {.stamp = kLater}, .capture_passed = true});
  EXPECT_EQ(decision.verdict, Verdict::kDrop);
  EXPECT_EQ(decision.rule, Rule::kNewerCaptured);
}

TEST(RowRuleTest, ALocalRowThatIsNotCapturedYetGoesByItsCommitTime) {
  const FoundRow row = Local(30);
  const Decision decision = Decide(At50(ChangeKind::kUpdate), &row, {.own_node = kOwn});
  EXPECT_EQ(decision.verdict, Verdict::kWrite);
  EXPECT_EQ(decision.conflict, ConflictKind::kUpdateOriginDiffers);
  EXPECT_EQ(decision.met, Met::kCommitTime);
  EXPECT_EQ(decision.rule, Rule::kOlderByTime);
}

TEST(RowRuleTest, TheFilterAllowsForTheRaiseOfStamps) {
  EXPECT_TRUE(PassesFilter(Local(49), kStamp, 0, INT64_MAX));
  EXPECT_FALSE(PassesFilter(Local(50), kStamp, 0, INT64_MAX));
  EXPECT_FALSE(PassesFilter(Local(45), kStamp, 5, INT64_MAX));
  EXPECT_TRUE(PassesFilter(Local(44), kStamp, 5, INT64_MAX));
  EXPECT_FALSE(PassesFilter(Local(44), kStamp, 5, 43)) << "not seen: to be logged";
}

TEST(RowRuleTest, RowsOfThisTransactionPassWithoutACommitTime) {
  const FoundRow own{.writer = Writer::kThisTransaction};
  EXPECT_TRUE(PassesFilter(own, kStamp, 1000, 0));
  RowChange sent = At50(ChangeKind::kUpdate);
  sent.sent = true;
  EXPECT_EQ(Decide(sent, &own, {}).verdict, Verdict::kNothing);
}

TEST(RowRuleTest, WhatARemoteOriginWroteIsDecidedByTheStoreAtOnce) {
  const FoundRow remote = Remote(99);
  const RowChange update = At50(ChangeKind::kUpdate);
  const Decision decision = Decide(update, &remote, {});
  EXPECT_EQ(decision.verdict, Verdict::kWrite);
  EXPECT_EQ(decision.conflict, ConflictKind::kNone) << "everybody had seen what is that old";
  EXPECT_EQ(Decide(update, &remote, {.newest = {.stamp = kLater}}).verdict, Verdict::kDrop);
}

TEST(RowRuleTest, AnUpdateOfNothingWaitsForALocalDeleteThatMayBeUnderWay) {
  const RowChange update = At50(ChangeKind::kUpdate);
  EXPECT_EQ(Decide(update, nullptr, {}).verdict, Verdict::kWait);
  EXPECT_EQ(Decide(update, nullptr, {.capture_passed = true}).verdict, Verdict::kInsert);
  EXPECT_EQ(Decide(update, nullptr, {.before = {.stamp = kOlder, .dead = true}}).verdict,
            Verdict::kInsert);
}

TEST(RowRuleTest, AnUpsertThatWasSentMetARow) {
  RowChange whole = At50(ChangeKind::kInsert);
  whole.whole = true;
  EXPECT_EQ(Decide(whole, nullptr, {}).verdict, Verdict::kInsert);
  whole.sent = true;
  EXPECT_EQ(Decide(whole, nullptr, {}).verdict, Verdict::kVanished);
}

// DELETE and INSERT of one key in one transaction, of which only the DELETE was touched by an
// applier: merged again by itself it must not take the new row.
TEST(RowRuleTest, ADeleteThatItsOwnTransactionUndidIsNotMergedAgain) {
  const FoundRow made_again = Local(50);
  RowChange again = At50(ChangeKind::kDelete);
  again.merged_again = true;
  const Known known{.newest = {.stamp = kStamp}, .capture_passed = true};
  EXPECT_EQ(Decide(again, &made_again, known).verdict, Verdict::kNothing);
  // Coming from elsewhere the whole transaction comes, in its order.
  EXPECT_EQ(Decide(At50(ChangeKind::kDelete), &made_again, known).verdict, Verdict::kWrite);
  // A delete that stands is merged.
  EXPECT_EQ(Decide(again, &made_again,
                   {.newest = {.stamp = kStamp, .dead = true}, .capture_passed = true})
                .verdict,
            Verdict::kWrite);
}

TEST(RowRuleTest, AnOwnChangeMergedAgainLeavesTheRowThatItMade) {
  const FoundRow row = Local(50);
  RowChange again = At50(ChangeKind::kUpdate);
  again.merged_again = true;
  Known known = Newest(kStamp);
  known.row = RowVersion{.source = RowVersion::Source::kStore, .stamp = kStamp};
  EXPECT_EQ(Decide(again, &row, known).verdict, Verdict::kStands);
  known.row->source = RowVersion::Source::kTime;  // an applier may have decided without it
  EXPECT_EQ(Decide(again, &row, known).verdict, Verdict::kWrite);
}

TEST(RowRuleTest, WhereRowsFoldNothingIsLost) {
  const RowChange update = At50(ChangeKind::kUpdate);
  const Decision decision = DecideFolded(update, Newest(kLater));
  EXPECT_EQ(decision.conflict, ConflictKind::kUpdateOriginDiffers);
  EXPECT_EQ(decision.winner, Winner::kMerged);
  EXPECT_EQ(decision.rule, Rule::kFolded);
  EXPECT_EQ(DecideFolded(update, Newest(kNever)).conflict, ConflictKind::kNone);
  EXPECT_EQ(DecideFolded(update, Newest({.time_us = 45, .node = 2})).conflict, ConflictKind::kNone)
      << "its own node's";
}

TEST(RowRuleTest, RowsWithoutAKeyDieOfALaterTruncateAlone) {
  EXPECT_TRUE(IsTruncated(kStamp, kLater));
  EXPECT_FALSE(IsTruncated(kStamp, kOlder));
  EXPECT_FALSE(IsTruncated(kStamp, kStamp)) << "of its own transaction, before it";
}

// --- versions of rows that stand ---

TEST(RowRuleTest, AnAppliedRowIsOfTheVersionKnownUnlessThatIsYetToBeApplied) {
  RowVersionQuery query{.own_node = kOwn, .known = {.stamp = kOlder}};
  RowVersion version = VersionOfRow(Remote(40), query);
  EXPECT_EQ(version.source, RowVersion::Source::kStore);
  EXPECT_EQ(version.stamp, kOlder);
  EXPECT_TRUE(VersionOfRow(Remote(39), query).pending);
  query.known_is_pending = true;
  EXPECT_TRUE(VersionOfRow(Remote(40), query).pending);
  EXPECT_EQ(VersionOfRow(Remote(40), {.own_node = kOwn}).stamp, kNever) << "it is long stable";
}

TEST(RowRuleTest, ALocalRowIsKnownOnceCapturedOrByAStampThatItCanHave) {
  RowVersionQuery query{.own_node = kOwn};
  EXPECT_TRUE(VersionOfRow(Local(40), query).must_wait);
  query.enough_if_older_than = kStamp;
  EXPECT_EQ(VersionOfRow(Local(40), query).source, RowVersion::Source::kTime);
  query.largest_raise_us = 10;
  EXPECT_TRUE(VersionOfRow(Local(40), query).must_wait);
  query.known.stamp = kOlder;
  EXPECT_EQ(VersionOfRow(Local(40), query).source, RowVersion::Source::kStore);
  EXPECT_TRUE(VersionOfRow(Local(41), query).must_wait) << "it is of a later commit";
  query.capture_passed = true;
  EXPECT_EQ(VersionOfRow(Local(41), query).source, RowVersion::Source::kStore);
}

// --- repair ---

TEST(RowRuleTest, ARepairNeverOverwritesWhatIsKnownToBeNewer) {
  const RowImage image{.stamp = kStamp, .present = true};
  EXPECT_TRUE(KnowsNewer(image, {.stamp = kLater}, {}, 0));
  EXPECT_FALSE(KnowsNewer(image, {.stamp = kOlder}, {}, 0));
  EXPECT_TRUE(KnowsNewer(image, {}, {.stamp = kLater, .dead = true}, 0)) << "a truncate";
  EXPECT_FALSE(KnowsNewer({.stamp = kStamp}, {}, {.stamp = kLater, .dead = true}, 0))
      << "of which a row that is gone has nothing to fear";
  // Without a version its commit time tells, and what is stable tells nothing.
  const RowImage old{.commit_us = 45, .present = true};
  EXPECT_TRUE(KnowsNewer(old, {.stamp = kLater}, {}, 60));
  EXPECT_FALSE(KnowsNewer(old, {.stamp = kLater}, {}, 61));
  EXPECT_FALSE(KnowsNewer(old, {.stamp = kOlder}, {}, 0));
}

}  // namespace
}  // namespace bdr::conflict
