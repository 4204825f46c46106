#include "tests/model/node.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "conflict/version_store.h"

namespace bdr::model {
namespace {

// Commit times are taken a moment before the commit record goes into the WAL.
constexpr int kDisorderUs = 2;
constexpr int64_t kPromiseSlackUs = 3;
constexpr int64_t kCeilingStepUs = 10;
constexpr uint32_t kTable = 16384;

Content DrawContent(World& world) {
  Random& random = world.random;
  Content row;
  const auto value = [&](int null_percent) {
    return static_cast<int8_t>(random.Percent(null_percent) ? kNone : random.Below(kValues));
  };
  row.u = value(25);
  row.w = value(25);
  row.active = random.Percent(60);
  row.from = value(25);
  if (row.from != kNone) row.to = static_cast<int8_t>(row.from + random.Below(2));
  row.note = world.next_note++;
  return row;
}

}  // namespace

Node::Node(World* world, int index) : world_(world), index_(index) {}

// A user's transaction of one or two statements. What would have to wait for an applier's lock is
// left out: the user comes later.
void Node::LocalWrite() {
  Random& random = world_->random;
  std::array<Row, kMaxKeys> rows = database_.committed().rows;
  std::array<bool, kMaxKeys> written{};
  std::vector<Change> changes;
  const auto free = [&](int key, const Content& content) {
    for (int other = 0; other < kMaxKeys; ++other) {
      if (other != key && rows[other].exists &&
          Conflicting(rows[other].content, content, constraints())) {
        return false;
      }
    }
    return !database_.ConflictsWithOther(-1, key, content, constraints());
  };
  const int statements = random.Percent(70) ? 1 : 2;
  for (int i = 0; i < statements; ++i) {
    const int key = random.Below(kMaxKeys);
    if (database_.LockedByOther(-1, key)) continue;
    const int dice = random.Below(100);
    if (dice < 62) {
      const Content content = DrawContent(*world_);
      if (!free(key, content)) continue;
      changes.push_back(
          {.kind = rows[key].exists ? Kind::kUpdate : Kind::kInsert, .key = key, .row = content});
      rows[key].exists = true;
      rows[key].content = content;
      written[key] = true;
    } else if (dice < 82) {
      if (!rows[key].exists) continue;
      changes.push_back({.kind = Kind::kDelete, .key = key, .row = {}});
      rows[key].exists = false;
      written[key] = true;
    } else if (dice < 95) {
      // A key change: pgoutput's Update with an old key.
      const int to = random.Below(kMaxKeys);
      if (to == key || !rows[key].exists || rows[to].exists || database_.LockedByOther(-1, to)) {
        continue;
      }
      if (!Broken(Rule::kOldKey)) {
        changes.push_back({.kind = Kind::kDelete, .key = key, .row = {}});
      }
      changes.push_back({.kind = Kind::kInsert, .key = to, .row = rows[key].content});
      rows[to].exists = true;
      rows[to].content = rows[key].content;
      rows[key].exists = false;
      written[key] = written[to] = true;
    } else {
      bool locked = false;
      for (int k = 0; k < kMaxKeys; ++k) locked |= database_.LockedByOther(-1, k);
      if (locked) continue;
      changes.push_back({.kind = Kind::kTruncate, .key = 0, .row = {}});
      for (int k = 0; k < kMaxKeys; ++k) {
        rows[k].exists = false;
        written[k] = true;
      }
      if (dice < 97) continue;
      // And fills it again, with a row that claims nothing.
      Content content;
      content.note = world_->next_note++;
      changes.push_back({.kind = Kind::kInsert, .key = key, .row = content});
      rows[key].exists = true;
      rows[key].content = content;
    }
  }
  if (changes.empty()) return;
  auto owned = std::make_unique<Transaction>();
  Transaction* transaction = owned.get();
  world_->arena.push_back(std::move(owned));
  transaction->node = index_;
  transaction->number = static_cast<int>(database_.wal().size());
  transaction->commit_us = clock_us() - random.Below(kDisorderUs + 1);
  transaction->changes = std::move(changes);
  database_.CommitLocal(transaction, rows, written);
  if (world_->tracing) {
    std::string what;
    for (const Change& change : transaction->changes) {
      absl::StrAppend(&what, "; ", Describe(change, constraints()));
    }
    world_->Trace("n", index_ + 1, " commits T", transaction->number, " at ",
                  transaction->commit_us, what);
  }
}

// ---------------------------------------------------------------------------------------------
// Capture.

void Node::Capture() {
  if (agent_ == nullptr) return;
  if (!agent_->appended.empty()) {
    LookForTouched();
  } else if (agent_->next_wal < database_.wal().size() &&
             (agent_->decoded.empty() || world_->random.Percent(60))) {
    Decode();
  } else if (!agent_->decoded.empty()) {
    Append();
  } else {
    Promise();
  }
}

void Node::Decode() {
  Agent& agent = *agent_;
  const Transaction& committed = *database_.wal()[agent.next_wal++];
  auto owned = std::make_unique<Transaction>(committed);
  Transaction& captured = *owned;
  world_->arena.push_back(std::move(owned));
  agent::AppliedHistory::Snapshot applied = agent.history.At(captured.commit_lsn);
  // Asked all the same, so that what it gives out is as without the fault.
  int64_t time_us = agent.clock.Next(captured.commit_us, applied.newest_stamp_us);
  if (Broken(Rule::kStampOrder)) time_us = captured.commit_us;
  captured.header = {.end_lsn = captured.end_lsn,
                     .stamp = {.time_us = time_us, .node = IdOf(index_)},
                     .waits_for = std::move(applied.waits_for),
                     .seen = std::move(applied.seen)};
  agent.decoded.push_back(&captured);
  agent.decoded_to = captured.end_lsn;
  if (Broken(Rule::kConfirmBeforeSync)) confirmed_wal_ = agent.next_wal;
  world_->Trace("n", index_ + 1, " stamps T", captured.number, " ", time_us);
}

// Versions and claims go into the store in one synced write with the blocks.
void Node::Append() {
  Agent& agent = *agent_;
  for (const Transaction* transaction : agent.decoded) {
    const Stamp stamp = transaction->header.stamp;
    for (size_t i = 0; i < transaction->changes.size(); ++i) {
      const Change& change = transaction->changes[i];
      if (change.kind == Kind::kTruncate) {
        store_.PutTruncate(stamp);
      } else if (change.writes()) {
        store_.PutVersion(change.key, stamp, /*dead=*/false);
        if (!transaction->Superseded(i)) {
          store_.PutClaims(change.key, change.row, stamp, constraints());
        }
      } else if (!Broken(Rule::kTombstones)) {
        store_.PutVersion(change.key, stamp, /*dead=*/true);
      }
    }
    log_[index_].push_back(transaction);
    store_.last_stamp_us = stamp.time_us;
  }
  store_.captured = agent.decoded_to;
  if (world_->random.Percent(30)) agent.history.Fold(store_.captured);
  synced_store_ = store_;
  synced_log_[index_] = log_[index_].size();
  for (int origin = 0; origin < world_->nodes; ++origin) {
    synced_log_[origin] = log_[origin].size();  // the same database
  }
  confirmed_wal_ = std::max(confirmed_wal_, agent.next_wal);
  agent.appended = std::move(agent.decoded);
  agent.decoded.clear();
  world_->Trace("n", index_ + 1, " logs up to T", agent.appended.back()->number);
}

// As TouchedChanges::Look(), then CaptureWaits::Reached().
void Node::LookForTouched() {
  Agent& agent = *agent_;
  for (const Transaction* transaction : agent.appended) {
    const int64_t stamp_us = transaction->header.stamp.time_us;
    const bool raised = stamp_us > transaction->commit_us;
    const bool always = transaction->end_lsn <= agent.touched_through;
    const auto touches = [&](const std::string& key, bool gone) {
      for (int slot = 0; slot < world_->nodes; ++slot) {
        if (agent.keys.Touches(KeyInFlight(slot, key), gone, transaction->commit_us, stamp_us)) {
          return true;
        }
        if (!Broken(Rule::kNoKeysInFlight)) return false;
      }
      return false;
    };
    for (size_t i = 0; i < transaction->changes.size(); ++i) {
      const Change& change = transaction->changes[i];
      if (Collapsed({.transaction = transaction, .change = static_cast<int>(i)})) continue;
      bool touched = false;
      if (change.kind == Kind::kTruncate) {
        touched = !Broken(Rule::kRemergeTruncates) &&
                  (always || agent.keys.TouchesTable(kTable, stamp_us));
      } else {
        const bool gone = change.kind == Kind::kDelete;
        const bool left_out = gone ? Broken(Rule::kRemergeDeletes) : Broken(Rule::kRemergeRaised);
        touched = !left_out && (always || ((gone || raised) && touches(KeyName(change.key), gone)));
        if (change.writes() && !Broken(Rule::kRemergeClaims)) {
          for (const std::string& key : ClaimKeys(change.row, constraints())) {
            touched = touched || touches(key, /*gone=*/true);
          }
        }
      }
      if (!touched) continue;
      world_->Trace("n", index_ + 1, " will merge T", transaction->number, ".", i, " again");
      agent.own_changes.Add({.header = transaction->header,
                             .relation = {},
                             .relation_message = {},
                             .types = {},
                             .change = absl::StrCat(transaction->number, " ", i)});
    }
  }
  agent.appended.clear();
  agent.own_changes.Looked(agent.decoded_to);
  const Transaction& last = *log_[index_].back();
  agent.progress.Published(last.end_lsn, last.header.stamp.time_us,
                           agent.history.At(agent.decoded_to).seen);
  agent.captured_through = agent.decoded_to;
  agent.keys.Forget(agent.captured_through);
}

void Node::Promise() {
  Agent& agent = *agent_;
  agent.decoded_to = std::max(agent.decoded_to, database_.flush_lsn());
  agent.own_changes.Looked(agent.decoded_to);
  agent.captured_through = agent.decoded_to;
  agent.keys.Forget(agent.captured_through);
  if (agent.pulse_clock_us == 0 || agent.decoded_to < agent.pulse_insert) return;
  const int64_t promise = agent.clock.Promise(agent.pulse_clock_us - kPromiseSlackUs);
  if (promise > store_.ceiling_us && !Broken(Rule::kPromiseNotDurable)) {
    store_.ceiling_us = promise + kCeilingStepUs;
    synced_store_ = store_;
    for (int origin = 0; origin < world_->nodes; ++origin) {
      synced_log_[origin] = log_[origin].size();
    }
  }
  const Lsn end = log_[index_].empty() ? Lsn{} : log_[index_].back()->end_lsn;
  agent.progress.Published(end, promise, agent.history.At(agent.decoded_to).seen);
}

// ---------------------------------------------------------------------------------------------
// The network.

void Node::Receive(int origin, const Node& from) {
  if (agent_ == nullptr || origin == index_) return;
  std::vector<const Transaction*>& mine = log_[origin];
  const std::vector<const Transaction*>& theirs = from.log_[origin];
  if (mine.size() < from.trimmed_[origin]) return;  // it is gone there
  size_t have = from.index_ == origin ? theirs.size() : from.synced_log_[origin];
  if (mine.size() < have) {
    const size_t most = mine.size() + static_cast<size_t>(world_->random.Between(1, 3));
    while (mine.size() < std::min(have, most)) mine.push_back(theirs[mine.size()]);
    return;
  }
  if (!Broken(Rule::kShipBeforeSync) || from.index_ != origin || from.agent_ == nullptr) return;
  const size_t ahead = mine.size() - have;
  if (ahead < from.agent_->decoded.size()) mine.push_back(from.agent_->decoded[ahead]);
}

void Node::HeartbeatTo(Node& other) {
  if (agent_ == nullptr || other.agent_ == nullptr) return;
  other.agent_->progress.OnHeartbeat(IdOf(index_), agent_->progress.MakeHeartbeat());
  // And back: what it has of ours.
  agent::AckInfo ack{.origin = OriginOf(index_),
                     .durable_lsn = other.agent_->progress.DurableLsn(OriginOf(index_))};
  if (Broken(Rule::kStableWhenReceived) && !other.log_[index_].empty()) {
    ack.durable_lsn = other.log_[index_].back()->end_lsn;
  }
  agent_->progress.OnAcks(IdOf(other.index_), {ack});
}

// ---------------------------------------------------------------------------------------------
// The watcher.

void Node::Watch() {
  if (agent_ == nullptr) return;
  Agent& agent = *agent_;
  if (!agent.watcher_connected) {
    std::vector<agent::OriginLsn> visible;
    for (int origin = 0; origin < world_->nodes; ++origin) {
      if (origin == index_) continue;
      visible.push_back(
          {.origin = OriginOf(origin), .lsn = database_.committed().progress[origin]});
    }
    agent.progress.RestartFlushing(visible, database_.insert_lsn());
    agent.watcher_connected = true;
    return;
  }
  agent.pulse_clock_us = clock_us();
  agent.pulse_insert = database_.insert_lsn();
  if (world_->random.Percent(20)) return;
  std::vector<agent::OriginLsn> flushed = agent.progress.FlushedThrough(database_.flush_lsn());
  for (agent::OriginLsn& item : flushed) {  // as it does itself with a change log
    const std::vector<const Transaction*>& log = log_[item.origin.node - 1];
    item.lsn = std::min(item.lsn, log.empty() ? Lsn{0} : log.back()->end_lsn);
  }
  store_.merged = std::max(store_.merged, agent.own_changes.low_water());
  synced_store_ = store_;
  for (int origin = 0; origin < world_->nodes; ++origin) synced_log_[origin] = log_[origin].size();
  agent.progress.Durable(flushed);
  agent.progress.OwnMerged(Broken(Rule::kForgetUnmerged) ? Lsn{UINT64_MAX} : store_.merged);
  const int64_t stable_us =
      Broken(Rule::kTombstonesEarly) ? clock_us() : agent.progress.StableTime();
  for (int origin = 0; origin < world_->nodes; ++origin) {
    const Lsn stable = agent.progress.StableLsn(OriginOf(origin));
    size_t& trimmed = trimmed_[origin];
    while (trimmed < log_[origin].size() && log_[origin][trimmed]->end_lsn <= stable) ++trimmed;
  }
  const int percent = world_->random.Percent(50) ? 100 : 40;  // compaction comes when it likes
  store_.Forget(stable_us, [&] { return world_->random.Percent(percent); });
}

// ---------------------------------------------------------------------------------------------
// Faults.

void Node::CrashPostgres() {
  world_->Trace("n", index_ + 1, " PostgreSQL crashes");
  database_.Crash();
  orphans_.clear();
  for (int slot = 0; slot < kMaxNodes; ++slot) database_.SetOpen(slot, nullptr);
  if (agent_ == nullptr) return;
  Agent& agent = *agent_;
  if (!agent.appended.empty()) LookForTouched();
  // The session with the slot begins again from what is durable.
  for (const agent::OriginLsn& finished : agent.history.Finished()) {
    const int origin = finished.origin.node - 1;
    agent.history.Lost(finished.origin, finished.lsn, database_.committed().progress[origin],
                       database_.committed().progress_us[origin]);
  }
  agent.decoded.clear();
  agent.next_wal = confirmed_wal_;
  agent.decoded_to = store_.captured;
  agent.watcher_connected = false;
  for (int slot = 0; slot < world_->nodes; ++slot) {
    Applier& applier = agent.appliers[slot];
    if (applier.commits()) {
      applier.registration.Commit(Lsn{UINT64_MAX});
    }
    applier.registration.Release();
    applier.stage = Stage::kConnecting;
    if (!merges_own(slot)) applier.ops.clear();
  }
}

void Node::KillAgent(bool machine) {
  if (agent_ == nullptr) return;
  world_->Trace("n", index_ + 1, machine ? " the agent's machine crashes" : " agent is killed");
  for (int slot = 0; slot < world_->nodes; ++slot) {
    Applier& applier = agent_->appliers[slot];
    const bool sent = applier.commits() && applier.phase == GroupPhase::kCommitting;
    applier.registration.Release();
    if (sent) {
      orphans_.push_back({.slot = slot, .applier = std::move(applier)});
      database_.SetOpen(slot, &orphans_.back().applier.open);
    } else {
      database_.SetOpen(slot, nullptr);
    }
  }
  // The vector may have moved them.
  for (Orphan& orphan : orphans_) database_.SetOpen(orphan.slot, &orphan.applier.open);
  agent_.reset();
  if (!machine) return;
  store_ = synced_store_;
  for (int origin = 0; origin < world_->nodes; ++origin) log_[origin].resize(synced_log_[origin]);
}

// As Fence() (sync/fence.h) and DataPath::Start() of an agent.
void Node::StartAgent() {
  if (agent_ != nullptr) return;
  for (Orphan& orphan : orphans_) {
    database_.SetOpen(orphan.slot, nullptr);
    if (world_->random.Percent(50)) {
      Applier& applier = orphan.applier;
      const Op& last = applier.ops.back();
      world_->Trace("n", index_ + 1, " the killed agent's backend commits up to n",
                    last.transaction->node + 1, ".T", last.transaction->number);
      database_.CommitApplied(applier.open, last.stamp().time_us, IdOf(orphan.slot));
      if (!merges_own(orphan.slot)) {
        database_.SetProgress(orphan.slot, last.transaction->end_lsn, last.stamp().time_us,
                              last.transaction->number + 1);
      }
    }
  }
  orphans_.clear();
  world_->Trace("n", index_ + 1, " agent starts");
  const OriginId own = OriginOf(index_);
  agent_ = std::make_unique<Agent>(own, std::max(store_.ceiling_us, store_.last_stamp_us));
  Agent& agent = *agent_;
  const Committed& committed = database_.committed();
  std::vector<OriginId> peers;
  for (int origin = 0; origin < world_->nodes; ++origin) {
    if (origin == index_) continue;
    peers.push_back(OriginOf(origin));
    if (committed.progress[origin].valid()) {
      agent.history.Reset(OriginOf(origin), committed.progress[origin],
                          committed.progress_us[origin], database_.insert_lsn());
    }
  }
  agent.progress.SetPeers(std::move(peers));
  agent.touched_through = database_.insert_lsn();
  const Lsn own_end = log_[index_].empty() ? Lsn{} : log_[index_].back()->end_lsn;
  agent.own_changes.Looked(own_end);
  const Lsn merged = Broken(Rule::kRemergeLostAtRestart) ? own_end : store_.merged;
  if (merged < own_end) {
    agent.own_changes.BeginReplay(merged);
    agent.replaying = true;
    agent.replay_through = own_end;
    while (log_[index_][agent.next_replay]->end_lsn <= merged) ++agent.next_replay;
  }
  agent.progress.Published(own_end, 0, {});
  agent.next_wal = confirmed_wal_;
  agent.decoded_to = agent.captured_through = store_.captured;
}

bool Node::Quiet() const {
  if (agent_ == nullptr || agent_->next_wal < database_.wal().size() || !agent_->decoded.empty() ||
      !agent_->appended.empty() || agent_->replaying) {
    return false;
  }
  for (int slot = 0; slot < world_->nodes; ++slot) {
    const Applier& applier = agent_->appliers[slot];
    if (applier.stage != Stage::kIdle || !applier.ops.empty()) return false;
    if (!merges_own(slot) && database_.committed().applied[slot] <
                                 static_cast<int>(world_->node[slot]->database_.wal().size())) {
      return false;
    }
  }
  return agent_->own_changes.low_water() >= agent_->decoded_to;
}

std::string Node::DescribeWork() const {
  if (agent_ == nullptr) return "no agent";
  std::string out = absl::StrCat("captured ", agent_->next_wal, "/", database_.wal().size());
  for (int slot = 0; slot < world_->nodes; ++slot) {
    absl::StrAppend(&out, "; through ", agent_->captured_through.value, " wait ",
                    agent_->appliers[slot].wait_for.value, " insert ", database_.insert_lsn().value,
                    ", n", slot + 1, ": ", agent::ToString(agent_->appliers[slot].phase),
                    " applied ", database_.committed().applied[slot]);
  }
  return out;
}

std::string Node::KeyInFlight(int slot, const std::string& key) const {
  return conflict::VersionKey(kTable,
                              Broken(Rule::kNoKeysInFlight) ? absl::StrCat(key, "@", slot) : key);
}

}  // namespace bdr::model
