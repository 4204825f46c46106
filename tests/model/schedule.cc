#include "tests/model/schedule.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/model/node.h"
#include "tests/model/reference.h"

namespace bdr::model {
namespace {

// How far a stamp may lie above its commit time where no clock was set: commit times and WAL order
// disagree, and there may be several in one microsecond.
constexpr int64_t kMostRaisedUs = 6;
constexpr int kMaxSkewUs = 40;
constexpr int kRoundsToSettle = 600;
constexpr int kFaultKinds = 7;

class Schedule {
 public:
  explicit Schedule(const Setup& setup);
  Outcome Play();

 private:
  void Step();
  void Fault();
  bool Settle();
  void Check();
  void CheckStamps();

  const Setup& setup_;
  World world_;
  Random& random_ = world_.random;
  int steps_ = 0;
  int write_steps_ = 0;
  int done_ = 0;
  int fault_percent_ = 0;
  int fault_kinds_ = 0;  // bits
  bool cut_[kMaxNodes][kMaxNodes] = {};
};

Schedule::Schedule(const Setup& setup) : setup_(setup) {
  random_ = Random(setup.seed);
  world_.broken = setup.broken;
  world_.tracing = setup.trace;
  world_.nodes = random_.Percent(35) ? 2 : random_.Percent(80) ? 3 : 4;
  constexpr int kConstraints[] = {0,
                                  0,
                                  kUniqueU,
                                  kPartialW,
                                  kUniqueU | kPartialW,
                                  kExpression,
                                  kExclusion,
                                  kUniqueU | kPartialW | kExpression | kExclusion};
  world_.constraints = kConstraints[random_.Below(8)];
  const int drawn = random_.Between(20, 120);
  steps_ = setup.steps == 0 ? drawn : setup.steps;
  write_steps_ = drawn * random_.Between(30, 100) / 100;
  fault_percent_ = random_.Percent(50) ? random_.Between(1, 10) : 0;
  // Each schedule has its own kinds, so that some have many of one kind.
  const int kinds = random_.Between(1, 4);
  for (int i = 0; i < kinds; ++i) fault_kinds_ |= 1 << random_.Below(kFaultKinds);
  for (int i = 0; i < world_.nodes; ++i) {
    world_.node.push_back(std::make_unique<Node>(&world_, i));
    world_.node[i]->StepClock(random_.Below(kMaxSkewUs));
    world_.node[i]->StartAgent();
  }
}

void Schedule::Step() {
  const int nodes = world_.nodes;
  world_.now_us += random_.Below(3);
  Node& node = *world_.node[random_.Below(nodes)];
  const int other = random_.Below(nodes);
  const int dice = random_.Below(100);
  if (dice < 18) {
    // Users stop before the faults do: what goes wrong is not written over.
    if (done_ < write_steps_) node.LocalWrite();
  } else if (dice < 36) {
    node.Capture();
  } else if (dice < 54) {
    // From the origin, or from another that has its blocks.
    const int from = random_.Percent(80) ? other : random_.Below(nodes);
    if (!cut_[from][node.index()]) node.Receive(other, *world_.node[from]);
  } else if (dice < 82) {
    node.Apply(other);
  } else if (dice < 90) {
    node.Watch();
  } else if (dice < 97) {
    for (int to = 0; to < nodes; ++to) {
      if (to != node.index() && !cut_[node.index()][to]) node.HeartbeatTo(*world_.node[to]);
    }
  } else if (dice == 97) {
    node.database().Flush();
  } else {
    node.StartAgent();
  }
  if (random_.Below(100) < fault_percent_) Fault();
}

void Schedule::Fault() {
  Node& node = *world_.node[random_.Below(world_.nodes)];
  int kind = random_.Below(kFaultKinds);
  while ((fault_kinds_ & (1 << kind)) == 0) kind = (kind + 1) % kFaultKinds;
  switch (kind) {
    case 0:
      // Between what an applier wrote and what the own changes made of it.
      node.Capture();
      node.database().Flush();
      for (int i = 0; i < 8; ++i) node.Apply(node.index());
      node.CrashPostgres();
      break;
    case 1:
      node.CrashPostgres();
      break;
    case 2:
      node.KillAgent(/*machine=*/false);
      if (random_.Percent(70)) node.StartAgent();
      break;
    case 3:
      node.KillAgent(/*machine=*/true);
      if (random_.Percent(70)) node.StartAgent();
      break;
    case 4:
      world_.Trace("n", node.index() + 1, " freezes");
      node.database().Freeze();
      break;
    case 5: {
      const int by = random_.Between(-kMaxSkewUs, kMaxSkewUs);
      world_.Trace("n", node.index() + 1, " clock set by ", by);
      node.StepClock(by);
      if (random_.Percent(50)) {
        // As after a crash of the machine, whose clock is not set yet.
        node.KillAgent(/*machine=*/true);
        node.StartAgent();
      }
      break;
    }
    default: {
      bool& cut = cut_[node.index()][random_.Below(world_.nodes)];
      cut = !cut;
      break;
    }
  }
}

// No more writes and no more faults: everything gets through. False if it does not.
bool Schedule::Settle() {
  world_.Trace("--- all heals ---");
  for (auto& node : world_.node) node->StartAgent();
  for (int round = 0; round < kRoundsToSettle; ++round) {
    world_.now_us += 5;
    bool quiet = true;
    for (auto& node : world_.node) {
      for (int i = 0; i < 3; ++i) node->Capture();
      for (auto& from : world_.node) {
        if (from != node) node->Receive(from->index(), *from);
      }
      for (int slot = 0; slot < world_.nodes; ++slot) {
        for (int i = 0; i < 3; ++i) node->Apply(slot);
      }
      node->database().Flush();
      node->Watch();
      quiet &= node->Quiet();
      if (!world_.wrong.empty()) return true;
    }
    // Some rounds more, so that what heartbeats and forgetting still do is done as well.
    if (quiet) return true;
    if (round % 4 == 0) {
      for (auto& node : world_.node) {
        for (auto& peer : world_.node) {
          if (peer != node) node->HeartbeatTo(*peer);
        }
      }
    }
  }
  std::string work;
  for (auto& node : world_.node) {
    absl::StrAppend(&work, "; n", node->index() + 1, ": ", node->DescribeWork());
  }
  world_.Fail(absl::StrCat("does not come to rest", work));
  return false;
}

void Schedule::CheckStamps() {
  for (auto& node : world_.node) {
    const std::vector<const Transaction*>& log = node->log(node->index());
    for (size_t i = 0; i < log.size(); ++i) {
      const Transaction& transaction = *log[i];
      const std::string name = absl::StrCat("n", node->index() + 1, ".T", transaction.number);
      const Stamp stamp = transaction.header.stamp;
      if (i > 0 && log[i - 1]->header.stamp >= stamp) {
        world_.Fail(absl::StrCat("the stamp of ", name, " does not rise"));
      }
      if (fault_percent_ == 0 && stamp.time_us - transaction.commit_us > kMostRaisedUs) {
        // (Nor was anything started anew: that begins above the last ceiling.)
        world_.Fail(absl::StrCat("the stamp of ", name, " was dragged along by ",
                                 stamp.time_us - transaction.commit_us, " µs"));
      }
      for (int origin = 0; origin < world_.nodes; ++origin) {
        if (origin == node->index()) continue;
        const std::vector<const Transaction*>& theirs = world_.node[origin]->log(origin);
        const size_t saw = static_cast<size_t>(transaction.saw[origin]);
        if (saw > 0 && saw <= theirs.size() && theirs[saw - 1]->header.stamp >= stamp) {
          world_.Fail(absl::StrCat("the stamp of ", name, " is not above that of n", origin + 1,
                                   ".T", saw - 1, ", which it had seen"));
        }
        if (saw >= theirs.size()) continue;
        for (const agent::SeenUntil& seen : transaction.header.seen) {
          if (seen.node == IdOf(origin) && seen.time_us >= theirs[saw]->header.stamp.time_us) {
            world_.Fail(
                absl::StrCat(name, " says to have seen n", origin + 1, ".T", saw, ", and had not"));
          }
        }
      }
    }
  }
}

void Schedule::Check() {
  std::vector<const Transaction*> all;
  for (auto& node : world_.node) {
    const std::vector<const Transaction*>& log = node->log(node->index());
    if (log.size() != node->database().wal().size()) {
      world_.Fail(absl::StrCat("n", node->index() + 1, " committed ", node->database().wal().size(),
                               " transactions, and published ", log.size()));
      return;
    }
    for (size_t i = 0; i < log.size(); ++i) {
      if (log[i]->number != static_cast<int>(i)) {
        world_.Fail(
            absl::StrCat("n", node->index() + 1, " published T", log[i]->number, " as T", i));
        return;
      }
    }
    all.insert(all.end(), log.begin(), log.end());
  }
  CheckStamps();
  const Rows expected = Expected(all, world_.constraints);
  for (auto& node : world_.node) {
    for (int key = 0; key < kMaxKeys; ++key) {
      const Row& row = node->database().committed().rows[key];
      if (row.exists == expected[key].has_value() &&
          (!row.exists || row.content == *expected[key])) {
        continue;
      }
      world_.Fail(absl::StrCat(
          "n", node->index() + 1, " shows for key ", key, " ",
          row.exists ? Describe(row.content, world_.constraints) : "nothing", " instead of ",
          expected[key].has_value() ? Describe(*expected[key], world_.constraints) : "nothing"));
    }
  }
}

Outcome Schedule::Play() {
  for (; done_ < steps_ && world_.wrong.empty(); ++done_) Step();
  if (world_.wrong.empty() && Settle() && world_.wrong.empty()) Check();
  return {.wrong = std::move(world_.wrong), .steps = steps_, .trace = std::move(world_.trace)};
}

}  // namespace

Outcome Play(const Setup& setup) { return Schedule(setup).Play(); }

Outcome Minimise(Setup setup, const Outcome& found) {
  setup.trace = true;
  for (setup.steps = 1; setup.steps < found.steps; ++setup.steps) {
    const Outcome shorter = Play(setup);
    if (!shorter.ok()) return shorter;
  }
  return Play(setup);
}

}  // namespace bdr::model
