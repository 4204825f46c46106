#include "conflict/merge_rule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <vector>

namespace bdr::conflict {
namespace {

struct Change {
  ChangeKind kind;
  int key;
  int value;
  Stamp stamp;
};

// One node that does exactly what Decide() says.
class Node {
 public:
  void Merge(const Change& change) {
    KeyState& state = states_[change.key];
    switch (Decide(change.kind, change.stamp, state).action) {
      case Action::kWrite:
        state.row = change.stamp;
        rows_[change.key] = change.value;
        break;
      case Action::kDelete:
        state.row.reset();
        rows_.erase(change.key);
        state.dead = std::max(state.dead, change.stamp);
        break;
      case Action::kBury:
        state.dead = std::max(state.dead, change.stamp);
        break;
      case Action::kDrop:
        break;
    }
  }
  const std::map<int, int>& rows() const { return rows_; }

 private:
  std::map<int, KeyState> states_;
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
RC_GTEST_PROP(MergeRuleTest, AnyOrderOfArrivalGivesOneResult, ()) {
  const auto history = ArbitraryHistory();
  const Node first = MergeInArbitraryOrder(history);
  const Node second = MergeInArbitraryOrder(history);
  RC_ASSERT(first.rows() == second.rows());
}

// A crash lets the tail of an origin's stream come again.
RC_GTEST_PROP(MergeRuleTest, RedeliveryOfATailChangesNothing, ()) {
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

constexpr Stamp kOld{.time_us = 5, .node = 1};
constexpr Stamp kNew{.time_us = 7, .node = 2};

TEST(MergeRuleTest, EqualTimesFallToTheHigherNodeOnBothNodes) {
  const Stamp eu{.time_us = 7, .node = 1};
  const Stamp us{.time_us = 7, .node = 2};
  EXPECT_EQ(Decide(ChangeKind::kUpdate, us, {.row = eu}).action, Action::kWrite);
  EXPECT_EQ(Decide(ChangeKind::kUpdate, eu, {.row = us}).action, Action::kDrop);
}

TEST(MergeRuleTest, UpdateOlderThanTheDeleteIsDropped) {
  const Decision decision = Decide(ChangeKind::kUpdate, kOld, {.row = {}, .dead = kNew});
  EXPECT_EQ(decision.action, Action::kDrop);
  EXPECT_EQ(decision.conflict_if_unseen, ConflictKind::kUpdateDeleted);
}

TEST(MergeRuleTest, UpdateNewerThanTheDeleteBringsTheRowBack) {
  const Decision decision = Decide(ChangeKind::kUpdate, kNew, {.row = {}, .dead = kOld});
  EXPECT_EQ(decision.action, Action::kWrite);
  EXPECT_EQ(decision.conflict_if_unseen, ConflictKind::kUpdateDeleted);
}

TEST(MergeRuleTest, DeleteOfNothingIsRememberedSoThatAnOlderInsertStaysDead) {
  const Decision decision = Decide(ChangeKind::kDelete, kNew, {});
  EXPECT_EQ(decision.action, Action::kBury);
  EXPECT_EQ(decision.conflict_if_unseen, ConflictKind::kDeleteMissing);
  EXPECT_EQ(Decide(ChangeKind::kInsert, kOld, {.row = {}, .dead = kNew}).action, Action::kDrop);
}

TEST(MergeRuleTest, WithinOneTransactionTheLaterChangeWins) {
  EXPECT_EQ(Decide(ChangeKind::kInsert, kNew, {.row = {}, .dead = kNew}).action, Action::kWrite);
  EXPECT_EQ(Decide(ChangeKind::kDelete, kNew, {.row = kNew}).action, Action::kDelete);
}

TEST(MergeRuleTest, InsertIntoNothingIsNoConflict) {
  EXPECT_EQ(Decide(ChangeKind::kInsert, kNew, {}).conflict_if_unseen, ConflictKind::kNone);
}

}  // namespace
}  // namespace bdr::conflict
