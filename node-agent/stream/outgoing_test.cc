// A subscriber that is slow must not be sent more than it has room for, and one busy origin must
// not keep back the others.
#include "node-agent/stream/outgoing.h"

#include <gtest/gtest.h>

#include "node-agent/stream/stream_testing.h"

namespace bdr::agent {
namespace {

constexpr NodeId kOther = 2;

TEST(OutgoingTest, OriginsTakeTurns) {
  TestNode node(1);
  node.Commit(3);
  const OriginId other{.node = kOther, .incarnation = 1};
  for (int i = 0; i < 2; ++i) {
    ASSERT_OK(node.log().AppendReceived(TestNode::MakeBlock(other, node.log().End(other), "x")));
  }
  Outgoing outgoing(
      &node.log(),
      {.self = 1, .window_bytes = 1 << 20, .wanted = {{node.origin(), {}}, {other, {}}}});
  ASSERT_OK(outgoing.Check());
  std::vector<NodeId> order;
  while (true) {
    ASSERT_OK_AND_ASSIGN(const std::optional<EncodedBlock> block, outgoing.Take(0));
    if (!block.has_value()) break;
    order.push_back(block->info.origin.node);
  }
  EXPECT_EQ(order, (std::vector<NodeId>{1, 2, 1, 2, 1}));
  EXPECT_EQ(outgoing.cursors()[0].from.end_lsn, node.log().End(node.origin()).end_lsn);
}

TEST(OutgoingTest, NoMoreIsUnderWayThanTheWindowButOneLargeBlockGoesAlone) {
  TestNode node(1);
  node.Commit(5, 10'000);
  node.Commit(1, 100'000);
  Outgoing outgoing(&node.log(),
                    {.self = 1, .window_bytes = 22'000, .wanted = {{node.origin(), {}}}});
  const auto take = [&](uint64_t consumed) {
    const auto block = outgoing.Take(consumed);
    EXPECT_OK(block);
    return block.ok() && block->has_value();
  };
  EXPECT_TRUE(take(0));
  const uint64_t one = outgoing.taken_bytes();
  EXPECT_TRUE(take(0));
  EXPECT_FALSE(take(0));
  EXPECT_FALSE(take(one / 2));
  EXPECT_TRUE(take(one));
  EXPECT_TRUE(take(2 * one));
  EXPECT_TRUE(take(3 * one));
  EXPECT_FALSE(take(4 * one));  // the large one does not fit beside another
  EXPECT_TRUE(take(outgoing.taken_bytes()));
  EXPECT_FALSE(take(outgoing.taken_bytes()));  // the end
  // A subscriber that claims too much gains nothing.
  node.Commit(3, 10'000);
  EXPECT_TRUE(take(UINT64_MAX));
}

TEST(OutgoingTest, AnotherNodesLogThatLagsIsNoFork) {
  TestNode node(1);
  const OriginId other{.node = kOther, .incarnation = 1};
  const EncodedBlock first = TestNode::MakeBlock(other, {}, "x");
  const EncodedBlock second = TestNode::MakeBlock(other, first.info.cursor(), "y");
  const EncodedBlock third = TestNode::MakeBlock(other, second.info.cursor(), "z");
  ASSERT_OK(node.log().AppendReceived(first));
  Outgoing outgoing(
      &node.log(), {.self = 1, .window_bytes = 1 << 20, .wanted = {{other, second.info.cursor()}}});
  EXPECT_OK(outgoing.Check());
  ASSERT_OK(node.log().AppendReceived(second));
  EXPECT_FALSE(outgoing.Take(0)->has_value());
  ASSERT_OK(node.log().AppendReceived(third));
  ASSERT_OK_AND_ASSIGN(const std::optional<EncodedBlock> block, outgoing.Take(0));
  ASSERT_TRUE(block.has_value());
  EXPECT_EQ(block->info.chain, third.info.chain);
}

TEST(OutgoingTest, OwnLogThatWasSetBackIsAFork) {
  TestNode node(1);
  const EncodedBlock lost = TestNode::MakeBlock(node.origin(), {}, "x");
  const Outgoing outgoing(
      &node.log(),
      {.self = 1, .window_bytes = 1 << 20, .wanted = {{node.origin(), lost.info.cursor()}}});
  EXPECT_EQ(outgoing.Check().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace bdr::agent
