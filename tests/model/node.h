// One node of the model: a database and the agent beside it.
//
// What decides is the agent's own code: the rules of rows, claims and truncates (conflict/), the
// stamp clock, the applied history, the keys in flight, the own changes, and progress with its
// stable time; and a group makes the moves of the agent's. What the model adds is the order in
// which an agent's threads call them (capture_session.cc, whole_group.cc, watcher.cc), one step at
// a time, so that a schedule may put anything between two steps.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "base/invariant.h"
#include "conflict/row_rule.h"
#include "node-agent/apply/plan/group_phase.h"
#include "node-agent/clocks/stamp_clock.h"
#include "node-agent/inflight/keys_in_flight.h"
#include "node-agent/inflight/own_changes.h"
#include "node-agent/positions/applied_history.h"
#include "node-agent/positions/progress.h"
#include "tests/model/database.h"
#include "tests/model/random.h"
#include "tests/model/store.h"
#include "tests/model/world.h"

namespace bdr::model {

using agent::GroupPhase;

class Node;

// What a schedule gives to its nodes.
struct World {
  Random random{0};
  Rule broken = Rule::kNone;
  int nodes = 0;
  int constraints = 0;
  int64_t now_us = 1000;  // true time
  int16_t next_note = 1;
  std::vector<std::unique_ptr<Node>> node;
  std::vector<std::unique_ptr<Transaction>> arena;
  std::string wrong;  // the first invariant that was found broken
  bool tracing = false;
  std::vector<std::string> trace;

  bool Broken(Rule rule) const { return broken == rule; }
  template <typename... Parts>
  void Trace(const Parts&... parts);
  void Fail(std::string what) {
    if (wrong.empty()) wrong = std::move(what);
  }
};

class Node {
 public:
  Node(World* world, int index);

  int index() const { return index_; }
  Database& database() { return database_; }
  const std::vector<const Transaction*>& log(int origin) const { return log_[origin]; }
  bool agent_runs() const { return agent_ != nullptr; }
  int64_t clock_us() const { return world_->now_us + clock_offset_us_; }
  void StepClock(int64_t by_us) { clock_offset_us_ += by_us; }

  // --- steps, each of which may find nothing to do ---
  void LocalWrite();
  void Capture();
  void Receive(int origin, const Node& from);
  void Apply(int slot);
  void Watch();
  void HeartbeatTo(Node& other);

  // --- faults ---
  void CrashPostgres();
  // `machine`: what was not synced is lost as well.
  void KillAgent(bool machine);
  void StartAgent();

  // Nothing is left to do here with what it has.
  bool Quiet() const;
  std::string DescribeWork() const;

 private:
  struct Op {
    const Transaction* transaction = nullptr;
    int change = 0;
    const Change& get() const { return transaction->changes[change]; }
    Stamp stamp() const { return transaction->header.stamp; }
  };

  // What an applier is at. While it works or waits for capture, `phase` is its group's, and makes
  // the moves that a group makes in the agent: another ends the process.
  enum class Stage { kConnecting, kRebuilding, kIdle, kWorking, kWaiting };
  struct Applier {
    Stage stage = Stage::kConnecting;
    GroupPhase phase = GroupPhase::kGathered;
    bool recorded_anew = true;  // since capture was waited for, or a deadlock was lost
    bool rewind = false;
    int next = 0;  // index of the next transaction of the origin
    uint64_t server_life = 0;
    std::vector<Op> ops;
    agent::KeysInFlight::Registration registration;
    std::array<Stamp, kMaxKeys> before{};  // newer versions known before, truncates included
    std::array<Stamp, kMaxKeys> dead_before{};
    std::array<bool, kMaxKeys> recorded{};
    std::array<std::optional<uint32_t>, kMaxKeys> found_before{};  // xmin; 0: nothing stood there
    std::array<std::optional<uint32_t>, kMaxKeys> must_wait{};
    bool waited = false;  // for capture, at an attempt before
    Open open;
    std::array<bool, kMaxKeys> unseats{};  // keys that it must hold to take their rows away
    Lsn wait_for;
    Lsn local_after;

    void MoveTo(GroupPhase to) {
      CheckInvariant(agent::MayMove(phase, to), "the model's group makes a move that is not drawn");
      phase = to;
    }
    void BeginGroup() {
      stage = Stage::kWorking;
      phase = GroupPhase::kGathered;
      recorded_anew = true;
    }
    bool commits() const {
      return stage == Stage::kWorking &&
             (phase == GroupPhase::kCommitting || phase == GroupPhase::kCommitted);
    }
    auto where() const { return std::tuple(stage, phase, recorded_anew); }
  };

  struct Agent {
    explicit Agent(OriginId own, int64_t floor_us)
        : progress(own, nullptr, &history), clock(floor_us) {}
    agent::AppliedHistory history;
    agent::Progress progress;
    agent::StampClock clock;
    agent::KeysInFlight keys;
    agent::OwnChanges own_changes;
    std::array<Applier, kMaxNodes> appliers;
    std::array<bool, kMaxNodes> rebuilt{};
    // Capture.
    size_t next_wal = 0;                       // what to decode next
    std::vector<const Transaction*> decoded;   // stamped, not yet in the log
    std::vector<const Transaction*> appended;  // in the log, not yet looked at
    Lsn decoded_to;
    Lsn captured_through;
    Lsn touched_through;
    int64_t pulse_clock_us = 0;
    Lsn pulse_insert;
    // Watcher.
    bool watcher_connected = false;
    // Merging own changes again.
    bool replaying = false;
    size_t next_replay = 0;
    Lsn replay_through;
  };

  bool Broken(Rule rule) const { return world_->Broken(rule); }
  int constraints() const { return world_->constraints; }
  bool merges_own(int slot) const { return slot == index_; }
  const Row& View(const Open& open, int key) const {
    return open.written[key] ? open.rows[key] : database_.committed().rows[key];
  }

  // Capture.
  void Decode();
  void Append();
  void LookForTouched();
  void Promise();

  // Appliers.
  void Work(int slot);
  void Attempt(int slot);
  void WaitForCapture(Applier& applier);
  void Connect(int slot);
  void Rebuild(int slot);
  bool Collapsed(const Op& op) const;
  void Gather(int slot);
  bool Register(int slot);
  void Record(int slot);
  enum class Ran { kDone, kBlocked, kMustWait, kMoreKeys, kClock };
  Ran Execute(int slot);
  Ran RunTruncate(int slot, const Op& op);
  Ran RunChange(int slot, const Op& op);
  Ran RunClaims(int slot, const Op& op, bool* dead);
  Ran Write(int slot, int key, const Content* content);
  Ran MustWait(int slot, int key);
  conflict::FoundRow FoundOf(const Row& row) const;
  bool CapturePassed(const Applier& applier, int key, const Row& row) const;
  void Commit(int slot);
  void Finish(int slot);
  void Rollback(Applier& applier, int slot);
  void CheckCausality(int slot);
  std::string KeyInFlight(int slot, const std::string& key) const;

  World* const world_;
  const int index_;
  int64_t clock_offset_us_ = 0;

  Database database_;
  // In the agent's folder: blocks by origin, and the rest.
  std::array<std::vector<const Transaction*>, kMaxNodes> log_;
  std::array<size_t, kMaxNodes> synced_log_{};
  std::array<size_t, kMaxNodes> trimmed_{};  // these first ones are gone
  Store store_;
  Store synced_store_;
  size_t confirmed_wal_ = 0;  // the slot's position

  std::unique_ptr<Agent> agent_;
  // Backends of a killed agent that may still commit.
  struct Orphan {
    int slot = 0;
    Applier applier;
  };
  std::vector<Orphan> orphans_;
};

}  // namespace bdr::model

#include "absl/strings/str_cat.h"

namespace bdr::model {

template <typename... Parts>
void World::Trace(const Parts&... parts) {
  if (tracing) trace.push_back(absl::StrCat(now_us, " ", parts...));
}

}  // namespace bdr::model
