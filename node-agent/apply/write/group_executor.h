// Applies one group's plan inside an open transaction.
//
// First the statements that write only where the row found is older and was seen; what they leave
// is looked at row by row, locked, with the version store as the truth (docs/architecture.md,
// "Conflicts"). Where that does not tell yet, because a local commit has not been captured, nothing
// is decided: the caller rolls back, waits for capture, and comes again.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/lsn.h"
#include "base/origin.h"
#include "conflict/row_rule.h"
#include "conflict/version_store.h"
#include "node-agent/apply/letters/dead_letters.h"
#include "node-agent/apply/plan/group_claims.h"
#include "node-agent/apply/plan/group_plan.h"
#include "node-agent/apply/plan/group_versions.h"
#include "node-agent/apply/plan/missing_values.h"
#include "node-agent/apply/session/lock_waits.h"
#include "node-agent/apply/session/pipe.h"
#include "node-agent/apply/write/claimed_table.h"
#include "node-agent/apply/write/conflict_log.h"
#include "node-agent/apply/write/fold_executor.h"
#include "node-agent/tables/found_rows.h"

namespace bdr::agent {

struct ExecutorOptions {
  OriginId origin;  // whose transactions are applied
  NodeId own_node = 0;
  bool merges_own = false;  // they are this node's own, merged once more
  // PostgreSQL's ids of our replication origins.
  absl::flat_hash_map<uint32_t, NodeId> node_of_roident;
  // What other tools' origins write here is captured: the store knows it, whatever its commit
  // times. If not, nobody else has such rows, and their times are all that is known of them.
  bool forwards_foreign_origins = false;
  // A local row's commit time may be this much below its stamp.
  int64_t largest_raise_us = 0;
  // Transactions before this one had ended when capture was last waited for; "" if it was not.
  std::string captured_xid = {};
  // Whether a version in the store is of a transaction that is not applied here yet.
  std::function<bool(const conflict::Version&)> is_pending = {};
  FoldOptions fold = {};  // for tables that fold
  LockWaits* locks = nullptr;
  CountsClaim counts_claim = nullptr;  // null: every claim counts
};

struct ConflictCounts {
  std::map<conflict::ConflictKind, uint64_t> by_kind;
  std::map<std::pair<std::string, std::string>, uint64_t> by_table;  // schema.name, and kind

  void Add(const ConflictCounts& other) {
    for (const auto& [kind, count] : other.by_kind) by_kind[kind] += count;
    for (const auto& [where, count] : other.by_table) by_table[where] += count;
  }
};

// For one group (or for all parts of one large transaction). Not thread-safe.
class GroupExecutor {
 public:
  GroupExecutor(const ExecutorOptions& options, Pipe* pipe, const GroupVersions* versions,
                const conflict::VersionStore* store, const FoundBefore* found_before,
                MissingValues* values)
      : options_(options),
        pipe_(pipe),
        versions_(versions),
        store_(store),
        found_before_(found_before),
        values_(values),
        found_rows_(&options.node_of_roident) {}

  // For tables with further unique constraints; `registered` holds the keys that this group has
  // registered, and is null if nobody else writes. To be called before Run().
  void SetClaims(const GroupClaims* claims, const absl::flat_hash_set<std::string>* registered) {
    claims_ = claims;
    registered_ = registered;
  }

  // Writes what the plan holds. `before`: for each key, the version that was known before this
  // group's own was recorded. kAborted: roll back and come again at once. After OK see must_wait(),
  // and `values`: if it wants some, roll back, let it fetch them, and come again.
  absl::Status Run(GroupPlan& plan,
                   const absl::flat_hash_map<std::string, conflict::Version>& before);

  // Not empty: roll back, wait until capture has passed the present end of the WAL, and come again
  // with this as `found_before`.
  const FoundBefore& must_wait() const { return must_wait_; }
  // Not empty: roll back, register these keys as well, and come again.
  const std::vector<std::string>& must_register() const { return must_register_; }
  // Versions of rows that lost a unique value, as dead ones: to be written to the version store.
  const std::vector<std::pair<std::string, conflict::Version>>& unseated() const {
    return unseated_;
  }
  const ConflictCounts& conflicts() const { return conflicts_; }
  // Changes that a policy's function refused, as they were put among the dead letters.
  const std::deque<DeadLetter>& refused() const { return refused_; }

 private:
  enum class Batch { kDelete, kUpdate, kInsert, kPlainInsert };
  struct TableRun {
    const TableOps* ops = nullptr;
    std::optional<ClaimedTable> claimed;  // then all but `lost` is its affair
    std::vector<const RowOp*> unresolved;
    std::vector<const RowOp*> dropped;  // by the version store, to be logged
    std::vector<const RowOp*> update_now;
    std::vector<const RowOp*> delete_now;
    std::vector<const RowOp*> insert_now;
    std::map<const RowOp*, FoundRow> found;
    std::vector<RowConflict> lost;  // for the conflict log
  };

  absl::Status LockTables(GroupPlan& plan);
  absl::Status RunSegment(GroupPlan& plan, Segment& segment);
  absl::Status Fold(FoldExecutor& fold, std::deque<TableRun>& runs);
  absl::Status PutRefusedAside(const FoldExecutor& fold);
  absl::Status FetchMoved(GroupPlan& plan, Segment& segment);
  absl::Status QueueFirst(TableRun& run);
  absl::Status QueueBatch(TableRun& run, Batch batch, std::vector<const RowOp*> rows);
  absl::Status QueueReplace(const BoundTable& table, const std::vector<const RowOp*>& rows,
                            bool checked);
  absl::Status QueueFind(TableRun& run, const std::vector<const RowOp*>& rows, bool lock);
  absl::Status DecideUnresolved(TableRun& run);
  conflict::Verdict Decide(TableRun& run, const RowOp& op,
                           const std::optional<conflict::Version>& now);
  absl::Status QueueDecided(TableRun& run);
  absl::Status DecideClaimed(TableRun& run);
  absl::Status Truncate(const TruncateOp& truncate);
  absl::Status TruncateFolded(const TruncateOp& truncate);

  void Lose(TableRun& run, const RowOp& op, const conflict::Decision& decision,
            const std::optional<conflict::Version>& local, const std::string& local_row);
  RowConflict& Log(TableRun& run, const RowOp& op, const conflict::Decision& decision,
                   const std::optional<conflict::Version>& local, const std::string& local_row);
  bool MayInsert(TableRun& run, const RowOp& op);
  conflict::Version LocalByTime(int64_t time_us) const;
  conflict::RowChange ChangeOf(const RowOp& op, bool sent = false) const;
  conflict::Known KnownBefore(const RowOp& op) const;
  std::optional<conflict::Version> Before(const RowOp& op) const;
  std::string SeenParam(int64_t local_slack_us = 0) const;
  bool SeenFromTheFirst(const RowOp& op, conflict::Stamp stamp) const;
  bool SeenByTime(const RowOp& op, const conflict::FoundRow& found) const;
  bool MayKeep(const RowOp& op, const conflict::FoundRow& found) const;
  void WantValues(const TableOps& ops);
  void LoseValues(TableRun& run, const RowOp& op, const std::string& local_row);
  static bool NullsWillDo(const BoundTable& table, const RowOp& op);
  std::string TimesParam(const std::vector<const RowOp*>& rows) const;

  const ExecutorOptions& options_;
  Pipe* const pipe_;
  const GroupVersions* const versions_;
  const conflict::VersionStore* const store_;
  const FoundBefore* const found_before_;
  MissingValues* const values_;
  const FoundRows found_rows_;
  const absl::flat_hash_map<std::string, conflict::Version>* before_ = nullptr;
  const TransactionHeader* first_ = nullptr;
  const GroupClaims* claims_ = nullptr;
  const absl::flat_hash_set<std::string>* registered_ = nullptr;
  ClaimedContext claimed_context_{};
  // Rows that this group has written so far, with their stamps.
  absl::flat_hash_map<std::string, conflict::Stamp> written_;
  std::vector<std::string> must_register_;
  std::vector<std::pair<std::string, conflict::Version>> unseated_;
  FoundBefore must_wait_;
  std::deque<DeadLetter> refused_;
  ConflictCounts conflicts_;
};

}  // namespace bdr::agent
