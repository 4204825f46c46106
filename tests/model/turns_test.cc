// The turns of a sequence without gaps, through every kind of accident at every step: bdr-server's
// decisions and the agents' own, around databases that are simulated.
#include "server/sequences/turns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "bdr/v1/control.pb.h"
#include "node-agent/sequences/turn.h"

namespace bdr::agent {
namespace {

// One row of bdr.gapless and its register, and the numbers of committed transactions.
struct Database {
  uint64_t turn = 0;
  bool held = false;
  int64_t next = 0;
  std::vector<int64_t> numbers = {};
};

struct Node {
  std::string name = "";
  Database now = {};
  Database flushed = {};  // what a crash leaves
  Database backup = {};
  std::optional<int64_t> open = std::nullopt;
  bool waits = false;
  // The agent's memory.
  bool heard = false;
  v1::SequenceState state = {};
  v1::SequenceState mark = {};  // durable
  bool wanted = false;
  bool unclear = false;
};

class Turns {
 public:
  explicit Turns(uint32_t seed) : random_(seed) {
    for (int i = 0; i < 3; ++i) nodes_.push_back({.name = absl::StrCat("n", i + 1)});
    server_.set_method("gapless");
    server_.set_next(1);
    server_.set_last(int64_t{1} << 40);
    server::BeginTurns(&server_);
  }

  std::vector<Node>& nodes() { return nodes_; }
  v1::SequenceState& server() { return server_; }
  int drawn() const { return drawn_; }

  void Step(bool accidents) {
    now_us_ += 100'000;
    Node& node = nodes_[Pick(3)];
    switch (Pick(accidents ? 13 : 6)) {
      case 0:
      case 1:
      case 2:
        Agent(&node);
        return;
      case 3:
      case 4:
        Draw(&node);
        return;
      case 5:
        node.flushed = node.now;
        return;
      case 6:
        Crash(&node);
        return;
      case 7:
        node.heard = false;  // kill -9 of the agent
        return;
      case 8:  // bdr-server is lost, and comes back with a backup and what all agents know
        if (Pick(8) == 0) Restore();
        return;
      case 9:
        backup_ = server_;
        return;
      case 10:
        if (Pick(4) == 0) node.backup = node.flushed;
        return;
      case 11:
        if (Pick(30) == 0) RestoreNode(&node);
        return;
      case 12:  // a person gives the turn to whoever has it, also in the midst of drawing
        if (Pick(8) == 0 && server_.turn().holder() == node.name && node.now.held &&
            node.now.turn == server_.turn().number() && !server_.turn().unclear()) {
          EXPECT_OK(server::TakeTurnOver(node.name, 0, server_.turn().number(), &server_));
        }
        return;
    }
  }

  // What all nodes' committed transactions have.
  std::vector<int64_t> Numbers() const {
    std::vector<int64_t> all = gone_;
    for (const Node& node : nodes_) {
      all.insert(all.end(), node.now.numbers.begin(), node.now.numbers.end());
    }
    std::sort(all.begin(), all.end());
    return all;
  }

 private:
  uint32_t Pick(uint32_t below) { return random_() % below; }

  void Draw(Node* node) {
    Database& row = node->now;
    if (node->open == static_cast<int64_t>(row.turn) && row.held && *node->open > 0) {
      row.numbers.push_back(row.next++);
      ++drawn_;
      node->waits = false;
    } else {
      node->waits = true;
    }
  }

  // As PostgreSQL does, with synchronous_commit off.
  void Crash(Node* node) {
    node->now = node->flushed;
    node->open.reset();
    node->heard = false;
  }

  // Its rows have reached the others before, as far as they were flushed; and bdr-server has been
  // told of them, which each second is.
  void RestoreNode(Node* node) {
    if (server_.next() < node->flushed.next) return;
    for (const int64_t number : node->flushed.numbers) {
      const auto& kept = node->backup.numbers;
      if (std::find(kept.begin(), kept.end(), number) == kept.end()) gone_.push_back(number);
    }
    node->now = node->flushed = node->backup;
    node->open.reset();
    node->heard = false;
  }

  void Restore() {
    server_ = backup_.has_turn() ? backup_ : server_;
    const uint32_t unheard = Pick(6);  // often nobody
    for (uint32_t i = 0; i < 3; ++i) {
      if (i == unheard) server::ForgetTurn(&server_);
    }
    for (uint32_t i = 0; i < 3; ++i) {
      if (i != unheard && nodes_[i].mark.has_turn()) server::LearnTurn(nodes_[i].mark, &server_);
    }
  }

  // Lost now and then, before it was heard or after.
  bool Ask(Node* node, v1::TurnRequest::Wish wish, int64_t next) {
    const uint32_t lost = Pick(10);
    if (lost == 0) return false;
    v1::TurnRequest request;
    request.set_node(node->name);
    request.set_wish(wish);
    request.set_turn(node->now.turn);
    request.set_next(next);
    const absl::Status applied = server::ApplyTurn(request, now_us_, &server_);
    if (!applied.ok()) {
      EXPECT_TRUE(server_.turn().unclear()) << applied;
      return false;
    }
    if (lost == 1) return false;
    node->state = node->mark = server_;
    node->wanted = server::IsTurnWanted(server_, now_us_);
    node->heard = true;
    return true;
  }

  void Agent(Node* node) {
    if (Pick(3) == 0) Learn(node);
    const bool asks = node->waits && !node->now.held;
    if (!Ask(node, asks ? v1::TurnRequest::ASK : v1::TurnRequest::LOOK,
             asks                                   ? 0
             : node->flushed.turn == node->now.turn ? node->flushed.next
                                                    : 0)) {
      return;
    }
    for (int i = 0; i < 8; ++i) {
      if (Pick(12) == 0) return;  // kill -9, or an error of the database
      const TurnDecision decision = Decide({.turn = node->now.turn,
                                            .held = node->now.held,
                                            .next = node->now.next,
                                            .open = node->open,
                                            .asked = node->waits,
                                            .ours = node->state.turn().holder() == node->name,
                                            .newest = node->state.turn().number(),
                                            .confirmed = node->state.turn().confirmed(),
                                            .told_next = node->state.next(),
                                            .wanted = node->wanted});
      node->unclear = decision.state == TurnState::kUnclear;
      switch (decision.step) {
        case TurnStep::kNone:
          return;
        case TurnStep::kAsk:
          return;
        case TurnStep::kWrite:
          node->mark = node->state;
          node->now.turn = node->state.turn().number();
          node->now.held = true;
          node->now.next = std::max(node->now.next, node->state.next());
          node->flushed = node->now;
          break;
        case TurnStep::kConfirm:
          if (!Ask(node, v1::TurnRequest::CONFIRM, 0)) return;
          node->mark = node->state;
          break;
        case TurnStep::kOpen:
          node->open = static_cast<int64_t>(node->now.turn);
          break;
        case TurnStep::kEnd:
          node->open = -static_cast<int64_t>(node->now.turn);
          node->now.held = false;
          node->flushed = node->now;
          break;
        case TurnStep::kGiveBack:
          if (!Ask(node, v1::TurnRequest::GIVE_BACK, node->now.next)) return;
          break;
        case TurnStep::kClose:
          node->open = -1;
          node->now.held = false;
          node->flushed = node->now;
          break;
        case TurnStep::kStop:
          node->open = -1;
          break;
      }
    }
  }

  // By the answer to its report, which teaches bdr-server, too.
  void Learn(Node* node) {
    if (node->mark.has_turn()) server::LearnTurn(node->mark, &server_);
    if (!node->mark.has_turn() || node->mark.turn().number() <= server_.turn().number()) {
      node->mark = server_;
    }
  }

  std::mt19937 random_;
  std::vector<Node> nodes_;
  v1::SequenceState server_;
  v1::SequenceState backup_;
  std::vector<int64_t> gone_;  // in rows that only other nodes have now
  int64_t now_us_ = 1;
  int drawn_ = 0;
};

// What may stop a node for ever is a database that has gone back in time, which is said.
TEST(TurnsTest, NoNumberComesTwiceAndNoneIsLeftOut) {
  int drawn = 0;
  int turns = 0;
  int unclear = 0;
  for (uint32_t seed = 1; seed <= 3000; ++seed) {
    Turns turns_of(seed);
    for (int step = 0; step < 800; ++step) turns_of.Step(/*accidents=*/true);
    const std::vector<int64_t> numbers = turns_of.Numbers();
    ASSERT_TRUE(std::adjacent_find(numbers.begin(), numbers.end()) == numbers.end())
        << "seed " << seed << ": a number twice";
    for (size_t i = 0; i < numbers.size(); ++i) {
      ASSERT_EQ(numbers[i], static_cast<int64_t>(i) + 1) << "seed " << seed << ": a gap";
    }
    drawn += turns_of.drawn();
    turns += static_cast<int>(turns_of.server().turn().number());
    for (const Node& node : turns_of.nodes()) unclear += node.unclear ? 1 : 0;
  }
  EXPECT_GT(drawn, 20000);
  EXPECT_GT(turns, 10000);
  EXPECT_GT(unclear, 10) << "the accident that stops it was never met";
}

// Without accidents every node has its turn again and again.
TEST(TurnsTest, NobodyStarves) {
  for (uint32_t seed = 1; seed <= 50; ++seed) {
    Turns turns(seed);
    for (int step = 0; step < 2000; ++step) turns.Step(/*accidents=*/false);
    for (const Node& node : turns.nodes()) {
      EXPECT_GT(node.now.numbers.size(), 5u) << "seed " << seed << " node " << node.name;
    }
  }
}

// Nobody is waited for until a clock comes to where it was before.
TEST(TurnsTest, AClockThatIsSetBackHoldsNobodyUp) {
  constexpr int64_t kHour = 3'600'000'000;
  v1::SequenceState state;
  state.set_method("gapless");
  v1::TurnRequest request;
  request.set_wish(v1::TurnRequest::ASK);
  for (const char* node : {"n1", "n2"}) {
    request.set_node(node);
    EXPECT_OK(server::ApplyTurn(request, 2 * kHour, &state));
  }
  EXPECT_EQ(state.turn().holder(), "n1");
  EXPECT_TRUE(server::IsTurnWanted(state, 2 * kHour));
  EXPECT_FALSE(server::IsTurnWanted(state, kHour)) << "by one who may have gone";
  request.set_node("n3");
  EXPECT_OK(server::ApplyTurn(request, kHour, &state));
  EXPECT_EQ(state.turn().asker(), "n3");
  EXPECT_TRUE(server::IsTurnWanted(state, kHour));
}

TEST(TurnsTest, ATakeoverEndsTheTurnThatWasSeen) {
  v1::SequenceState state;
  state.set_method("gapless");
  state.set_next(7);
  state.set_last(1000);
  state.mutable_turn()->set_number(3);
  state.mutable_turn()->set_holder("n1");
  state.mutable_turn()->set_confirmed(true);
  EXPECT_EQ(server::TakeTurnOver("n2", 0, 2, &state).code(), absl::StatusCode::kAborted);
  EXPECT_OK(server::TakeTurnOver("n2", 20, 3, &state));
  EXPECT_OK(server::TakeTurnOver("n2", 20, 3, &state)) << "the same again";
  EXPECT_GT(state.turn().number(), 4u) << "beyond all that a lost bdr-server may have given";
  EXPECT_EQ(server::TakeTurnOver("n2", 1001, state.turn().number(), &state).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(state.next(), 20);
  // The old holder closes, whatever it has drawn.
  EXPECT_EQ(Decide({.turn = 3,
                    .held = true,
                    .next = 9,
                    .open = 3,
                    .newest = state.turn().number(),
                    .told_next = 20})
                .step,
            TurnStep::kClose);
  // Who may have a turn that nobody knows is waited for.
  server::ForgetTurn(&state);
  v1::TurnRequest request;
  request.set_node("n3");
  request.set_wish(v1::TurnRequest::ASK);
  EXPECT_EQ(server::ApplyTurn(request, 1, &state).code(), absl::StatusCode::kFailedPrecondition);
  // Also once somebody was heard who may not have been the last.
  v1::SequenceState told = state;
  told.mutable_turn()->set_number(state.turn().number() + 1);
  told.mutable_turn()->clear_holder();
  told.mutable_turn()->set_unclear(false);
  EXPECT_TRUE(server::LearnTurn(told, &state));
  EXPECT_EQ(server::ApplyTurn(request, 1, &state).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_OK(server::TakeTurnOver("n3", 0, state.turn().number(), &state));
  EXPECT_OK(server::ApplyTurn(request, 1, &state));
}

}  // namespace
}  // namespace bdr::agent
