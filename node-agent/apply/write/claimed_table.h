// Writes one table of a group where rows lay claim to further unique values: what becomes of a row
// depends on others as well.
//
// A version lives unless a version of another key has ever claimed one of its values with a later
// stamp (conflict/claim_rule.h). So the rows at the group's keys are found, and those which hold
// under other keys what the group's versions claim; all are locked, their versions looked up, every
// key's fate is decided, and then the rows are written in an order in which no value is held twice.
// What was unseated goes to the conflict log whole.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "conflict/row_rule.h"
#include "conflict/version_store.h"
#include "node-agent/apply/plan/group_claims.h"
#include "node-agent/apply/plan/group_plan.h"
#include "node-agent/apply/session/lock_waits.h"
#include "node-agent/apply/write/target_writer.h"

namespace bdr::agent {

// What a table's run needs of its group. Everything outlives it.
struct ClaimedContext {
  Pipe* pipe;
  LockWaits* locks;
  const conflict::VersionStore* versions;
  OriginId origin;  // whose transactions these are, and where they end
  Lsn first_lsn;
  Lsn last_lsn;
  NodeId own_node = 0;
  // As ExecutorOptions has it.
  std::function<bool(const conflict::Version&)> is_pending;
  bool merges_own = false;
  const absl::flat_hash_map<uint32_t, NodeId>* node_of_roident;
  int64_t largest_raise_us = 0;
  // The stamp of a row that this very transaction wrote, where `written` does not have it.
  conflict::Stamp own_stamp;
  absl::flat_hash_map<std::string, conflict::Stamp>* written;
  // As of GroupExecutor::Run().
  const absl::flat_hash_map<std::string, conflict::Version>* before;
  const absl::flat_hash_map<std::string, std::optional<std::string>>* found_before;
  // Keys registered by this group; null: nobody else writes.
  const absl::flat_hash_set<std::string>* registered;
  // Whether values that the change does not carry may be kept as they stand in the row.
  std::function<bool(const RowOp&, const FoundRow&)> may_keep;
  const CountsClaim* counts_claim = nullptr;  // null, or holding none: every claim counts
};

// For the conflict log.
struct ClaimedLoss {
  const RowOp* op = nullptr;      // the incoming version
  const LocalRow* key = nullptr;  // the row concerned; null: op's own
  std::optional<conflict::Version> local;
  std::string local_row;
  bool by_claim = false;
  conflict::Decision decision;
};

// Not thread-safe. Each step is followed by Pipe::Finish().
class ClaimedTable {
 public:
  ClaimedTable(const ClaimedContext& context, const TableOps* ops, const TableClaims* claims)
      : context_(context),
        ops_(ops),
        claims_(claims),
        writer_(ops->table.get(), context.pipe, context.node_of_roident) {}

  absl::Status QueueHolders();
  absl::Status QueueLock();
  // After OK see must_wait() and unregistered(): if either holds something, nothing was decided.
  // kAborted: a row changed between finding and locking it. kFailedPrecondition: a row would be
  // unseated by a claim that does not count.
  absl::Status Decide();
  absl::Status QueueWrites();

  const absl::flat_hash_map<std::string, std::optional<std::string>>& must_wait() const {
    return must_wait_;
  }
  // Keys of rows which hold what the group claims, and are not registered yet.
  const std::vector<std::string>& unregistered() const { return unregistered_; }
  const std::vector<ClaimedLoss>& losses() const { return losses_; }
  // Changes that cannot be written without values that they do not carry: as must_wait(), until
  // these were fetched. And those that are not written, as nobody has the values.
  const std::vector<const RowOp*>& wanted() const { return wanted_; }
  const std::vector<const RowOp*>& lost_values() const { return lost_values_; }
  // Versions that died of a claim, to be recorded as dead.
  const std::vector<std::pair<std::string, conflict::Version>>& unseated() const {
    return unseated_;
  }

 private:
  // A row that holds what a version claims.
  struct Holding {
    size_t version;  // in claims_->versions
    size_t constraint;
    std::string key;
    std::string xmin;
  };
  // A key that is concerned: one of the group, or of a holder.
  struct Key {
    const RowOp* op = nullptr;      // the group's newest change of it; null: only a holder
    const LocalRow* row = nullptr;  // with the key's columns
    const FoundRow* standing = nullptr;
    conflict::RowVersion version;             // of the standing row
    std::optional<conflict::Version> newest;  // in the store, if newer than `op` or without one
    bool fresh = false;                       // `op` replaces what stands there
    bool settled = false;  // an own change merged again, of which the row stands already
    bool dies = false;     // by a claim: what stands there, or `op` if fresh
  };

  absl::Status TakeHolders(const postgres::Result& result, size_t constraint,
                           const std::vector<size_t>& versions);
  absl::Status FindVersions();
  std::optional<conflict::Version> NewestOf(const std::string& name, const RowOp* op,
                                            const std::optional<conflict::Version>& now) const;
  std::optional<conflict::Version> VersionOf(const Key& key) const;
  void Judge(Key* key);
  absl::Status JudgeClaims();
  absl::StatusOr<bool> Counts(size_t constraint, const conflict::Stamp& claim) const;
  void Die(Key* key, const RowOp& by);
  void Lose(Key* key, const conflict::Claim& to);
  absl::Status Targets();

  const ClaimedContext& context_;
  const TableOps* const ops_;
  const TableClaims* const claims_;
  TargetWriter writer_;
  std::deque<std::string> bytes_;  // that rows of holders point into
  std::deque<LocalRow> holder_rows_;
  std::vector<Holding> holdings_;  // of rows of other keys
  std::vector<Holding> kept_;      // of the row of the version's own key
  StandingRows standing_;
  absl::flat_hash_map<std::string, Key> keys_;
  TargetRows targets_;
  absl::flat_hash_map<std::string, std::optional<std::string>> must_wait_;
  std::vector<std::string> unregistered_;
  std::vector<const RowOp*> wanted_;
  std::vector<const RowOp*> lost_values_;
  std::vector<ClaimedLoss> losses_;
  std::vector<std::pair<std::string, conflict::Version>> unseated_;
};

}  // namespace bdr::agent
