// Every node that folds the same changes shows the same rows, in whatever order they came; and who
// is alone with a row sees just what it wrote.
#include "conflict/fold.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "base/testing.h"
#include "conflict/fold_testing.h"

namespace bdr::conflict {
namespace {

FoldState FoldAll(const FoldPolicy& policy, std::vector<FoldChange> changes,
                  FoldState base = FoldState()) {
  std::sort(changes.begin(), changes.end());
  const auto of = [&](const FoldChange&) -> const FoldPolicy& { return policy; };
  return *Fold(of, std::move(base), changes, &kMix);
}

// A few nodes that write to their own copies and hear of each other in causal order.
struct Node {
  std::map<int, std::vector<FoldChange>> history;
  std::vector<size_t> applied;  // by node: how many of its changes
  std::vector<int64_t> seen;    // by node: up to which time
  int64_t clock = 0;
};
struct Published {
  int key = 0;
  FoldChange change;
  std::vector<size_t> after;
};

FoldChange ArbitraryChange(const std::optional<FoldRow>& shown) {
  FoldChange change;
  change.old_row = shown;
  const auto digit = [] { return *rc::gen::inRange<int64_t>(0, 10); };
  if (!shown.has_value()) {
    change.kind = ChangeKind::kInsert;
    change.new_row = Row(digit(), digit());
  } else if (*rc::gen::inRange(0, 7) == 0) {
    change.kind = ChangeKind::kDelete;
  } else {
    change.kind = ChangeKind::kUpdate;
    change.new_row = Row(ToInt((*shown)[0]) + digit() - 3,
                         *rc::gen::arbitrary<bool>() ? ToInt((*shown)[1]) : digit());
  }
  return change;
}

void PlayRandomSchedule(PolicyKind kind) {
  const FoldPolicy policy = Policy(kind);
  const size_t count = *rc::gen::inRange<size_t>(2, 4);
  std::vector<Node> nodes(count);
  std::vector<std::vector<Published>> logs(count);
  for (Node& node : nodes) {
    node.applied.assign(count, 0);
    node.seen.assign(count, 0);
    node.clock = *rc::gen::inRange<int64_t>(1, 20);  // skewed
  }
  const auto write = [&](size_t i) {
    Node& node = nodes[i];
    node.clock = std::max(node.clock + *rc::gen::inRange<int64_t>(0, 3), node.clock);
    for (const int64_t time : node.seen) node.clock = std::max(node.clock, time + 1);
    const int key = *rc::gen::inRange(1, 3);
    FoldChange change = ArbitraryChange(FoldAll(policy, node.history[key]).row);
    change.stamp = {.time_us = node.clock, .node = static_cast<NodeId>(i + 1)};
    for (size_t o = 0; o < count; ++o) {
      if (o != i) change.seen.push_back({static_cast<NodeId>(o + 1), node.seen[o]});
    }
    node.seen[i] = node.clock;
    ++node.applied[i];
    node.history[key].push_back(change);
    // Nothing that it had not seen came before it: it shows just what it wrote.
    RC_ASSERT(FoldAll(policy, node.history[key]).row == change.new_row);
    logs[i].push_back({key, change, node.applied});
  };
  const auto deliver = [&](size_t i, size_t o) {
    Node& node = nodes[i];
    if (i == o || node.applied[o] == logs[o].size()) return;
    const Published& next = logs[o][node.applied[o]];
    for (size_t p = 0; p < count; ++p) {
      if (p != o && node.applied[p] < next.after[p]) return;
    }
    node.history[next.key].push_back(next.change);
    node.seen[o] = next.change.stamp.time_us;
    ++node.applied[o];
  };
  const int steps = *rc::gen::inRange(0, 60);
  for (int step = 0; step < steps; ++step) {
    const size_t i = *rc::gen::inRange<size_t>(0, count);
    if (*rc::gen::inRange(0, 3) == 0) {
      write(i);
    } else {
      deliver(i, *rc::gen::inRange<size_t>(0, count));
    }
  }
  for (size_t round = 0; round < 200 * count; ++round) {
    for (size_t i = 0; i < count; ++i) {
      for (size_t o = 0; o < count; ++o) deliver(i, o);
    }
  }
  for (const int key : {1, 2}) {
    const FoldState first = FoldAll(policy, nodes[0].history[key]);
    for (Node& node : nodes) RC_ASSERT(FoldAll(policy, node.history[key]) == first);
    // What is stable may be folded into the base first, wherever one cuts.
    std::vector<FoldChange> changes = nodes[0].history[key];
    std::sort(changes.begin(), changes.end());
    const size_t cut = *rc::gen::inRange<size_t>(0, changes.size() + 1);
    const std::vector<FoldChange> stable(changes.begin(), changes.begin() + cut);
    const std::vector<FoldChange> rest(changes.begin() + cut, changes.end());
    RC_ASSERT(FoldAll(policy, rest, FoldAll(policy, stable)) == first);
  }
}

RC_GTEST_PROP(FoldProperty, LastUpdateWinsConverges, ()) {
  PlayRandomSchedule(PolicyKind::kLastUpdateWins);
}
RC_GTEST_PROP(FoldProperty, FirstUpdateWinsConverges, ()) {
  PlayRandomSchedule(PolicyKind::kFirstUpdateWins);
}
RC_GTEST_PROP(FoldProperty, OriginPriorityConverges, ()) {
  PlayRandomSchedule(PolicyKind::kOriginPriority);
}
RC_GTEST_PROP(FoldProperty, ColumnMergeConverges, ()) {
  PlayRandomSchedule(PolicyKind::kColumnMerge);
}
RC_GTEST_PROP(FoldProperty, DeltaConverges, ()) { PlayRandomSchedule(PolicyKind::kDelta); }
RC_GTEST_PROP(FoldProperty, CustomConverges, ()) { PlayRandomSchedule(PolicyKind::kCustom); }

FoldChange Update(Stamp stamp, FoldRow old_row, FoldRow new_row) {
  return {.kind = ChangeKind::kUpdate,
          .stamp = stamp,
          .origin = {.node = stamp.node, .incarnation = 1},
          .old_row = std::move(old_row),
          .new_row = std::move(new_row)};
}
FoldState Base(FoldRow row) { return {.row = std::move(row)}; }

TEST(FoldTest, DeltaCountsBothIncrementsAndTakesTheRestFromTheLaterOne) {
  const FoldState state = FoldAll(
      Policy(PolicyKind::kDelta),
      {Update({20, 2}, Row(100, 1), Row(107, 3)), Update({10, 1}, Row(100, 1), Row(105, 2))},
      Base(Row(100, 1)));
  EXPECT_EQ(state.row, Row(112, 3));
}

TEST(FoldTest, ColumnMergeKeepsEachColumnsLatestWrite) {
  const FoldState state = FoldAll(
      Policy(PolicyKind::kColumnMerge),
      {Update({10, 1}, Row(100, 1), Row(105, 1)), Update({20, 2}, Row(100, 1), Row(100, 7))},
      Base(Row(100, 1)));
  EXPECT_EQ(state.row, Row(105, 7));
}

TEST(FoldTest, FirstUpdateWinsLeavesOutWhatHadNotSeenTheFirst) {
  const FoldPolicy policy = Policy(PolicyKind::kFirstUpdateWins);
  FoldChange second = Update({20, 2}, Row(100, 1), Row(2, 2));
  const FoldChange first = Update({10, 1}, Row(100, 1), Row(1, 1));
  EXPECT_EQ(FoldAll(policy, {first, second}, Base(Row(100, 1))).row, Row(1, 1));
  second.seen = {{.node = 1, .time_us = 9}};
  EXPECT_EQ(FoldAll(policy, {first, second}, Base(Row(100, 1))).row, Row(1, 1));
  second.seen = {{.node = 1, .time_us = 10}};
  EXPECT_EQ(FoldAll(policy, {first, second}, Base(Row(100, 1))).row, Row(2, 2));
}

TEST(FoldTest, OriginPriorityLetsTheHigherRankStandAgainstALaterLowerOne) {
  const FoldPolicy policy = Policy(PolicyKind::kOriginPriority);  // 2 before 1 before all others
  const FoldChange high = Update({10, 2}, Row(0, 0), Row(2, 0));
  const FoldChange low = Update({20, 1}, Row(0, 0), Row(1, 0));
  const FoldChange other = Update({30, 3}, Row(0, 0), Row(3, 0));
  const FoldChange alike = Update({40, 4}, Row(0, 0), Row(4, 0));
  EXPECT_EQ(FoldAll(policy, {high, low, other}, Base(Row(0, 0))).row, Row(2, 0));
  EXPECT_EQ(FoldAll(policy, {other, alike}, Base(Row(0, 0))).row, Row(4, 0));
}

TEST(FoldTest, TheBaseTellsWhoSetItSoThatALateChangeIsMeasuredByIt) {
  const FoldPolicy policy = Policy(PolicyKind::kFirstUpdateWins);
  const FoldChange unaware = Update({20, 2}, Row(100, 1), Row(2, 2));
  FoldState base = Base(Row(1, 1));
  EXPECT_EQ(FoldAll(policy, {unaware}, base).row, Row(2, 2));  // settled: everybody knew it
  base.stamp = {.time_us = 10, .node = 1};
  EXPECT_EQ(FoldAll(policy, {unaware}, base).row, Row(1, 1));
}

TEST(FoldTest, ValuesThatDidNotComeAlongStayAsTheyAre) {
  FoldChange change = Update({10, 1}, Row(100, 1), Row(105, 1));
  (*change.new_row)[1] = {.kind = FoldValue::Kind::kUnchanged};
  change.old_row.reset();
  EXPECT_EQ(FoldAll(Policy(PolicyKind::kDelta), {change}, Base(Row(1, 9))).row, Row(105, 9));
}

TEST(FoldTest, AnErrorOfTheUsersFunctionEndsTheFold) {
  const CustomHandler fails = [](const FoldState&, const FoldChange&,
                                 const FoldRow&) -> absl::StatusOr<FoldRow> {
    return absl::InternalError("raised");
  };
  const FoldPolicy policy = Policy(PolicyKind::kCustom);
  FoldState base = Base(Row(1, 1));
  base.stamp = {.time_us = 5, .node = 3};
  EXPECT_EQ(FoldStep(policy, base, Update({10, 1}, Row(1, 1), Row(2, 2)), &fails).status().code(),
            absl::StatusCode::kInternal);
  EXPECT_EQ(FoldStep(policy, base, Update({10, 1}, Row(1, 1), Row(2, 2)), nullptr).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(FoldTest, EveryPolicyHasANameThatReadsBack) {
  for (const char* name : {"last_update_wins", "first_update_wins", "origin_priority",
                           "column_merge", "delta", "custom"}) {
    ASSERT_TRUE(ParsePolicyKind(name).has_value()) << name;
    EXPECT_EQ(ToString(*ParsePolicyKind(name)), name);
  }
  EXPECT_FALSE(ParsePolicyKind("newest").has_value());
}

}  // namespace
}  // namespace bdr::conflict
