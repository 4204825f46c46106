// The appliers of a node: drive/whole_group.cc and write/group_executor.cc, step by step.
#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "conflict/row_filter.h"
#include "conflict/row_rule.h"
#include "conflict/truncate_rule.h"
#include "tests/model/node.h"

namespace bdr::model {

using conflict::ChangeKind;
using conflict::FoundRow;
using conflict::Verdict;
using conflict::Writer;

void Node::Apply(int slot) {
  if (agent_ == nullptr) return;
  Applier& applier = agent_->appliers[slot];
  // An applier runs on until the schedule looks elsewhere.
  do {
    const auto before = applier.where();
    if (applier.rewind && !applier.commits()) {
      Rollback(applier, slot);
      applier.registration.Release();
      applier.ops.clear();
      applier.stage = Stage::kConnecting;
    }
    switch (applier.stage) {
      case Stage::kConnecting:
        Connect(slot);
        break;
      case Stage::kRebuilding:
        Rebuild(slot);
        break;
      case Stage::kIdle:
        Gather(slot);
        break;
      case Stage::kWorking:
        Work(slot);
        break;
      case Stage::kWaiting:
        WaitForCapture(applier);
        break;
    }
    if (applier.where() == before) return;
  } while (world_->random.Percent(65));
}

void Node::WaitForCapture(Applier& applier) {
  if (agent_->captured_through < applier.wait_for && !Broken(Rule::kNoBarrier)) return;
  for (int key = 0; key < kMaxKeys; ++key) {
    if (applier.must_wait[key].has_value()) applier.found_before[key] = applier.must_wait[key];
  }
  applier.waited = true;
  applier.stage = Stage::kWorking;
  applier.recorded_anew = false;
}

// As Drive() and WholeGroup: the phases are the agent's own.
void Node::Work(int slot) {
  Applier& applier = agent_->appliers[slot];
  switch (applier.phase) {
    case GroupPhase::kGathered:
    case GroupPhase::kPlanned:
      if (!Register(slot)) return;
      if (applier.phase == GroupPhase::kGathered) applier.MoveTo(GroupPhase::kPlanned);
      applier.MoveTo(GroupPhase::kRegistered);
      return;
    case GroupPhase::kRegistered:
      Record(slot);
      applier.MoveTo(GroupPhase::kRecorded);
      return;
    case GroupPhase::kRecorded:
      if (!applier.recorded_anew) {
        Record(slot);
        applier.MoveTo(GroupPhase::kRecorded);
        applier.recorded_anew = true;
        return;
      }
      Attempt(slot);
      return;
    case GroupPhase::kWritten:
      if (!merges_own(slot)) {
        const Op& last = applier.ops.back();
        agent_->history.Begin(OriginOf(slot), last.transaction->end_lsn, last.stamp().time_us,
                              database_.insert_lsn());
      }
      applier.MoveTo(GroupPhase::kCommitting);
      return;
    case GroupPhase::kCommitting:
      Commit(slot);
      return;
    case GroupPhase::kCommitted:
      Finish(slot);
      return;
  }
}

void Node::Attempt(int slot) {
  Applier& applier = agent_->appliers[slot];
  const Ran ran = Execute(slot);
  if (ran == Ran::kDone) {
    database_.SetOpen(slot, &applier.open);
    applier.MoveTo(GroupPhase::kWritten);
    return;
  }
  Rollback(applier, slot);
  if (ran == Ran::kMustWait) {
    applier.wait_for = database_.insert_lsn();
    applier.stage = Stage::kWaiting;
  } else if (ran == Ran::kMoreKeys) {
    applier.registration.Release();
    applier.MoveTo(GroupPhase::kPlanned);
  } else if (ran == Ran::kBlocked && world_->random.Percent(50)) {
    applier.recorded_anew = false;  // a deadlock's victim begins again
  }
}

void Node::Rollback(Applier& applier, int slot) {
  applier.open = {};
  database_.SetOpen(slot, nullptr);
}

// As Applier::Session().
void Node::Connect(int slot) {
  Agent& agent = *agent_;
  Applier& applier = agent.appliers[slot];
  applier.rewind = false;
  applier.open = {};
  applier.before.fill(conflict::kNever);
  applier.dead_before.fill(conflict::kNever);
  applier.recorded.fill(false);
  applier.unseats.fill(false);
  applier.found_before.fill(std::nullopt);
  applier.waited = false;
  if (merges_own(slot)) {
    for (int origin = 0; origin < world_->nodes; ++origin) {
      if (origin != index_ && !agent.rebuilt[origin]) return;
    }
    if (applier.ops.empty()) {
      applier.stage = Stage::kIdle;
    } else {
      applier.BeginGroup();
    }
    return;
  }
  applier.server_life = agent.progress.ServerLife();
  const Committed& committed = database_.committed();
  for (int origin = 0; origin < world_->nodes; ++origin) {
    if (origin == index_) continue;
    const OriginId id = OriginOf(origin);
    const Lsn lsn = committed.progress[origin];
    const Lsn known = agent.progress.CommittedLsn(id).value_or(Lsn{0});
    const Lsn now = database_.insert_lsn();
    if (origin == slot) {
      agent.progress.ResetCommitted(id, lsn);
      if (!agent.progress.Committed(id, lsn, now, applier.server_life)) return;
      agent.history.Reset(id, lsn, committed.progress_us[origin], now);
      agent.keys.Settle(id.node, now);
      applier.next = committed.applied[origin];
    } else if (known > lsn) {
      agent.progress.ResetCommitted(id, lsn);
      agent.appliers[origin].rewind = true;
    }
  }
  applier.stage = Stage::kRebuilding;
}

// As VersionsOnly::Rebuild(), then waits for the others'.
void Node::Rebuild(int slot) {
  Agent& agent = *agent_;
  const std::vector<const Transaction*>& log = log_[slot];
  for (int i = 0; i < agent.appliers[slot].next; ++i) {
    if (static_cast<size_t>(i) < trimmed_[slot]) continue;  // stable
    if (static_cast<size_t>(i) >= log.size()) return;       // to be fetched again
    const Transaction& transaction = *log[i];
    if (transaction.end_lsn <= store_.versions_through[slot]) continue;
    for (size_t at = 0; at < transaction.changes.size(); ++at) {
      const Change& change = transaction.changes[at];
      if (change.kind == Kind::kTruncate) {
        store_.PutTruncate(transaction.header.stamp);
        continue;
      }
      if (!change.writes() && Broken(Rule::kTombstones)) continue;
      store_.PutVersion(change.key, transaction.header.stamp, !change.writes());
      if (change.writes() && !transaction.Superseded(at)) {
        store_.PutClaims(change.key, change.row, transaction.header.stamp, constraints());
      }
    }
    store_.versions_through[slot] = transaction.end_lsn;
  }
  agent.rebuilt[slot] = true;
  for (int origin = 0; origin < world_->nodes; ++origin) {
    if (origin != index_ && !agent.rebuilt[origin]) return;
  }
  agent.appliers[slot].stage = Stage::kIdle;
}

// Rows with further unique values are written as their transaction left them: what they held in
// between may be held by another row that stands, where constraints are deferred.
bool Node::Collapsed(const Op& op) const {
  return constraints() != 0 && op.get().writes() &&
         op.transaction->Superseded(static_cast<size_t>(op.change));
}

void Node::Gather(int slot) {
  Agent& agent = *agent_;
  Applier& applier = agent.appliers[slot];
  applier.before.fill(conflict::kNever);
  applier.dead_before.fill(conflict::kNever);
  applier.recorded.fill(false);
  applier.unseats.fill(false);
  applier.found_before.fill(std::nullopt);
  applier.waited = false;
  const int most = world_->random.Between(1, 3);
  const auto take = [&](const Transaction* transaction) {
    for (size_t i = 0; i < transaction->changes.size(); ++i) {
      applier.ops.push_back({.transaction = transaction, .change = static_cast<int>(i)});
    }
  };
  if (!merges_own(slot)) {
    for (int taken = 0; taken < most; ++taken) {
      const size_t next = static_cast<size_t>(applier.next + taken);
      if (next >= log_[slot].size()) break;
      const Transaction* transaction = log_[slot][next];
      if (!Broken(Rule::kNoDependencies) &&
          agent.progress.FirstMissing(transaction->header.waits_for).has_value()) {
        break;
      }
      take(transaction);
    }
  } else if (agent.replaying) {
    for (int taken = 0; taken < most; ++taken) {
      if (agent.next_replay >= log_[index_].size() ||
          log_[index_][agent.next_replay]->end_lsn > agent.replay_through) {
        break;
      }
      const Transaction* transaction = log_[index_][agent.next_replay++];
      if (taken == 0) agent.own_changes.Replayed(Lsn{transaction->end_lsn.value - 1});
      take(transaction);
    }
    if (applier.ops.empty()) {
      agent.replaying = false;
      agent.own_changes.EndReplay();
    }
  } else {
    agent.own_changes.Done();
    for (const agent::OwnChange& own :
         agent.own_changes.Take(static_cast<size_t>(most), absl::ZeroDuration())) {
      const std::vector<absl::string_view> parts = absl::StrSplit(own.change, ' ');
      int number = 0;
      Op op;
      (void)absl::SimpleAtoi(parts[0], &number);
      (void)absl::SimpleAtoi(parts[1], &op.change);
      // Only where a rule is broken can the log have lost what was captured.
      if (static_cast<size_t>(number) >= log_[index_].size()) continue;
      op.transaction = log_[index_][number];
      if (static_cast<size_t>(op.change) >= op.transaction->changes.size()) continue;
      applier.ops.push_back(op);
    }
  }
  if (!applier.ops.empty()) applier.BeginGroup();
}

bool Node::Register(int slot) {
  Applier& applier = agent_->appliers[slot];
  agent::StampRange stamps{.oldest_us = INT64_MAX, .newest_us = 0};
  std::vector<std::string> keys;
  bool all = false;
  for (const Op& op : applier.ops) {
    const Change& change = op.get();
    stamps.oldest_us = std::min(stamps.oldest_us, op.stamp().time_us);
    stamps.newest_us = std::max(stamps.newest_us, op.stamp().time_us);
    all |= change.kind == Kind::kTruncate;
    keys.push_back(KeyInFlight(slot, KeyName(change.key)));
    if (!change.writes()) continue;
    for (const std::string& key : ClaimKeys(change.row, constraints())) {
      keys.push_back(KeyInFlight(slot, key));
    }
  }
  for (int key = 0; key < kMaxKeys; ++key) {
    if (applier.unseats[key]) keys.push_back(KeyInFlight(slot, KeyName(key)));
  }
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  auto [registered, held] =
      all && !Broken(Rule::kNoKeysInFlight)
          ? agent_->keys.RegisterAll(IdOf(slot), stamps, absl::ZeroDuration())
          : agent_->keys.Register(IdOf(slot), std::move(keys), stamps, absl::ZeroDuration());
  if (registered) applier.registration = std::move(held);
  return registered;
}

// As WholeGroup::RecordVersions(): ours go into the store, then what stood there is read.
void Node::Record(int slot) {
  Applier& applier = agent_->appliers[slot];
  std::array<Stamp, kMaxKeys> own{};
  std::array<bool, kMaxKeys> planned{};
  for (const Op& op : applier.ops) {
    const Change& change = op.get();
    if (change.kind == Kind::kTruncate || Collapsed(op)) continue;
    planned[change.key] = true;
    own[change.key] = std::max(own[change.key], op.stamp());
    if (store_.truncated > op.stamp()) {
      applier.before[change.key] = std::max(applier.before[change.key], store_.truncated);
    }
  }
  for (int key = 0; key < kMaxKeys; ++key) {
    const VersionOf& known = store_.versions[key];
    if (!planned[key] || known.stamp == conflict::kNever) continue;
    if ((merges_own(slot) || applier.recorded[key]) && known.stamp <= own[key]) continue;
    applier.before[key] = std::max(applier.before[key], known.stamp);
    if (known.dead) applier.dead_before[key] = std::max(applier.dead_before[key], known.stamp);
  }
  if (merges_own(slot)) return;
  for (const Op& op : applier.ops) {
    const Change& change = op.get();
    if (change.kind == Kind::kTruncate) {
      store_.PutTruncate(op.stamp());
      continue;
    }
    applier.recorded[change.key] = true;
    if (change.writes() || !Broken(Rule::kTombstones)) {
      store_.PutVersion(change.key, op.stamp(), !change.writes());
    }
    if (change.writes() && !Collapsed(op)) {
      store_.PutClaims(change.key, change.row, op.stamp(), constraints());
    }
  }
  store_.versions_through[slot] =
      std::max(store_.versions_through[slot], applier.ops.back().transaction->end_lsn);
}

FoundRow Node::FoundOf(const Row& row) const {
  if (row.own && Broken(Rule::kNoOwnXid)) return {.writer = Writer::kLocal};
  if (row.own) return {.writer = Writer::kThisTransaction};
  std::optional<int64_t> time_us;
  if (row.timed) time_us = row.time_us;
  if (!row.timed && Broken(Rule::kNullTimeOld)) time_us = conflict::kLongStable;
  return {.writer = row.writer == 0 ? Writer::kLocal : Writer::kNode,
          .node = row.writer,
          .time_us = time_us};
}

bool Node::CapturePassed(const Applier& applier, int key, const Row& row) const {
  // What this very transaction took away, it knows.
  if (row.own && !row.exists) return true;
  return applier.found_before[key].has_value() &&
         *applier.found_before[key] == (row.exists ? row.xmin : 0);
}

Node::Ran Node::MustWait(int slot, int key) {
  Applier& applier = agent_->appliers[slot];
  const Row& row = View(applier.open, key);
  applier.must_wait[key] = row.exists ? row.xmin : 0;
  return Ran::kMustWait;
}

Node::Ran Node::Write(int slot, int key, const Content* content) {
  if (database_.LockedByOther(slot, key)) return Ran::kBlocked;
  Applier& applier = agent_->appliers[slot];
  if (content != nullptr && database_.ConflictsWithOther(slot, key, *content, constraints())) {
    return Ran::kBlocked;
  }
  Row& row = applier.open.rows[key];
  if (!applier.open.written[key]) row = database_.committed().rows[key];
  applier.open.written[key] = true;
  row.exists = content != nullptr;
  row.own = true;
  if (content == nullptr) return Ran::kDone;
  row.content = *content;
  for (int other = 0; other < kMaxKeys; ++other) {
    if (other == key || !View(applier.open, other).exists) continue;
    if (Conflicting(View(applier.open, other).content, *content, constraints())) {
      world_->Fail(absl::StrCat("n", index_ + 1, " would violate a unique constraint with keys ",
                                key, " and ", other));
    }
  }
  return Ran::kDone;
}

Node::Ran Node::Execute(int slot) {
  Applier& applier = agent_->appliers[slot];
  applier.open = {};
  applier.must_wait.fill(std::nullopt);
  // bdr.require_clock_past()
  if (clock_us() <= applier.ops.back().stamp().time_us && !Broken(Rule::kClockWait)) {
    return Ran::kClock;
  }
  for (const Op& op : applier.ops) {
    const Ran ran = op.get().kind == Kind::kTruncate ? RunTruncate(slot, op) : RunChange(slot, op);
    if (ran != Ran::kDone) return ran;
  }
  return Ran::kDone;
}

// Kills what is older than its stamp.
Node::Ran Node::RunTruncate(int slot, const Op& op) {
  Applier& applier = agent_->appliers[slot];
  const int64_t raise_us = agent_->clock.LargestRaise(agent_->progress.StableTime());
  for (int key = 0; key < kMaxKeys; ++key) {
    if (database_.LockedByOther(slot, key)) return Ran::kBlocked;
    const Row& row = View(applier.open, key);
    if (!row.exists) continue;
    const conflict::TruncateVerdict verdict =
        conflict::JudgeTruncated({.stamp = op.stamp(),
                                  .own_node = IdOf(index_),
                                  .merged_again = merges_own(slot),
                                  .largest_raise_us = raise_us},
                                 FoundOf(row),
                                 {.newest = store_.versions[key].stamp,
                                  .captured = CapturePassed(applier, key, row),
                                  .waited = applier.waited});
    if (verdict == conflict::TruncateVerdict::kWait) return MustWait(slot, key);
    if (verdict == conflict::TruncateVerdict::kStays) continue;
    if (const Ran ran = Write(slot, key, nullptr); ran != Ran::kDone) return ran;
  }
  return Ran::kDone;
}

// Older holders of the values make room. `dead`: somebody has claimed one of them later.
Node::Ran Node::RunClaims(int slot, const Op& op, bool* dead) {
  Applier& applier = agent_->appliers[slot];
  const Change& change = op.get();
  for (int c = 0; c <= kUniques; ++c) {
    if ((constraints() & (1 << c)) == 0) continue;
    if (!Broken(Rule::kClaims) && store_.ClaimedLater(change.key, change.row, op.stamp(), c)) {
      *dead = true;
    }
    for (int other = 0; other < kMaxKeys; ++other) {
      const Row& row = View(applier.open, other);
      if (other == change.key || !row.exists || !Conflicting(row.content, change.row, 1 << c)) {
        continue;
      }
      if (database_.LockedByOther(slot, other)) return Ran::kBlocked;
      const FoundRow found = FoundOf(row);
      // Also if it is surely older: nothing but its version in the store will keep away what is
      // older still.
      if (found.writer == Writer::kLocal && !CapturePassed(applier, other, row)) {
        return MustWait(slot, other);
      }
      // Also what is dead itself unseats: what killed it may not overlap with this one.
      // A row of the same transaction stands already where that is merged again.
      const Stamp claimed = store_.HolderClaim(other, row.content, c);
      const bool of_same = merges_own(slot) && claimed == op.stamp() &&
                           (row.writer == 0 || row.writer == IdOf(index_));
      if (found.writer != Writer::kThisTransaction && (claimed > op.stamp() || of_same)) continue;
      // Nobody else may decide about that key meanwhile: it would find nothing there.
      if (!applier.unseats[other] && !Broken(Rule::kNoKeysInFlight)) {
        applier.unseats[other] = true;
        return Ran::kMoreKeys;
      }
      if (const Ran ran = Write(slot, other, nullptr); ran != Ran::kDone) return ran;
      // What dies is that version, with its own stamp: a later one of the key may live.
      if (Broken(Rule::kLoserStamp)) {
        store_.PutVersion(other, op.stamp(), /*dead=*/true);
      }
    }
  }
  return Ran::kDone;
}

Node::Ran Node::RunChange(int slot, const Op& op) {
  Applier& applier = agent_->appliers[slot];
  const Change& change = op.get();
  const int key = change.key;
  bool dead = false;
  if (Collapsed(op)) return Ran::kDone;
  if (change.writes() && constraints() != 0) {
    if (const Ran ran = RunClaims(slot, op, &dead); ran != Ran::kDone) return ran;
  }
  const Row& row = View(applier.open, key);
  const FoundRow found = FoundOf(row);
  const bool removes = dead || !change.writes();
  const Content* content = removes ? nullptr : &change.row;
  const bool whole =
      !removes && (merges_own(slot) ? change.kind == Kind::kInsert
                                    : op.transaction->Whole(static_cast<size_t>(op.change)));
  const conflict::RowChange incoming{
      .kind = removes ? ChangeKind::kDelete : ChangeKind::kUpdate,
      .stamp = op.stamp(),
      .seen = {.origin = IdOf(slot), .others = op.transaction->header.seen},
      .whole = whole,
      .sent = true,
      .merged_again = merges_own(slot) && !dead && !Broken(Rule::kRemergeUndone)};
  const bool was_dead = applier.dead_before[key] != conflict::kNever;
  conflict::Known known{
      .before = {.stamp = applier.before[key], .dead = was_dead},
      .largest_raise_us = agent_->clock.LargestRaise(agent_->progress.StableTime()),
      .own_node = IdOf(index_)};
  // The store is asked first.
  if (conflict::IsKnownOlder(incoming, known)) return Ran::kDone;
  if (database_.LockedByOther(slot, key)) return Ran::kBlocked;

  // Then the statement is sent, with the filter.
  if (whole && !row.exists) return Write(slot, key, content);
  const int64_t seen_us = incoming.seen.Until(row.writer == 0 ? IdOf(index_) : row.writer);
  if (row.exists && conflict::PassesFilter(found, op.stamp(), known.largest_raise_us, seen_us)) {
    return Write(slot, key, content);
  }
  known.newest = {.stamp = store_.versions[key].stamp, .dead = store_.versions[key].dead};
  known.capture_passed = CapturePassed(applier, key, row);
  const Verdict verdict = conflict::Decide(incoming, row.exists ? &found : nullptr, known).verdict;
  switch (verdict) {
    case Verdict::kDrop:
    case Verdict::kNothing:
    case Verdict::kStands:
      return Ran::kDone;
    case Verdict::kWait:
      return MustWait(slot, key);
    case Verdict::kVanished:
      return Ran::kBlocked;
    case Verdict::kWrite:
    case Verdict::kInsert:
      return Write(slot, key, content);
  }
  return Ran::kDone;
}

void Node::Commit(int slot) {
  Applier& applier = agent_->appliers[slot];
  const Op& last = applier.ops.back();
  database_.SetOpen(slot, nullptr);
  database_.CommitApplied(applier.open, last.stamp().time_us, IdOf(slot));
  if (!merges_own(slot)) {
    database_.SetProgress(slot, last.transaction->end_lsn, last.stamp().time_us,
                          last.transaction->number + 1);
    CheckCausality(slot);
  } else if (!Broken(Rule::kRemergeUnflushed)) {
    database_.Flush();
  }
  if (world_->tracing) {
    std::string rows;
    for (int key = 0; key < kMaxKeys; ++key) {
      if (!applier.open.written[key]) continue;
      absl::StrAppend(&rows, "; ", key, ": ",
                      applier.open.rows[key].exists
                          ? Describe(applier.open.rows[key].content, constraints())
                          : "gone");
    }
    world_->Trace("n", index_ + 1, merges_own(slot) ? " merges again up to" : " applies up to",
                  " n", slot + 1, ".T", last.transaction->number, rows);
  }
  applier.MoveTo(GroupPhase::kCommitted);
}

void Node::Finish(int slot) {
  Agent& agent = *agent_;
  Applier& applier = agent.appliers[slot];
  const Lsn after = database_.insert_lsn();
  const Op last = applier.ops.back();
  applier.registration.Commit(after);
  applier.ops.clear();
  applier.stage = Stage::kIdle;
  if (merges_own(slot)) return;
  applier.next = last.transaction->number + 1;
  agent.history.Finish(OriginOf(slot), after);
  if (!agent.progress.Committed(OriginOf(slot), last.transaction->end_lsn, after,
                                applier.server_life)) {
    applier.stage = Stage::kConnecting;
  }
}

// What readers here may see now: every transaction with all that its origin had seen.
void Node::CheckCausality(int slot) {
  const std::array<int, kMaxNodes>& applied = database_.committed().applied;
  for (const Op& op : agent_->appliers[slot].ops) {
    for (int origin = 0; origin < world_->nodes; ++origin) {
      if (origin == slot || origin == index_) continue;
      if (op.transaction->saw[origin] > applied[origin]) {
        world_->Fail(absl::StrCat("causal order: n", index_ + 1, " shows n", slot + 1, ".T",
                                  op.transaction->number, " before n", origin + 1, ".T",
                                  op.transaction->saw[origin] - 1, ", which it had seen"));
      }
    }
  }
}

}  // namespace bdr::model
