// Applies a group's changes of tables that fold: for every key, what its whole history makes of it
// is what stands there afterwards.
//
// In an open transaction: locks the rows, reads how far each origin is applied here (whoever holds
// a row's lock sees every commit that had written it), folds, and writes what differs. The history
// learns of a key's first base before the transaction can commit, and durably: what stands in the
// table afterwards would not tell it any more.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "base/lsn.h"
#include "base/origin.h"
#include "conflict/history_store.h"
#include "node-agent/apply/plan/group_plan.h"
#include "node-agent/apply/plan/needs.h"
#include "node-agent/apply/session/pipe.h"
#include "node-agent/apply/write/fold_key.h"
#include "node-agent/changelog/change_log.h"
#include "node-agent/changelog/database.h"
#include "node-agent/cluster/settings.h"
#include "node-agent/inflight/capture_barrier.h"
#include "node-agent/tables/found_rows.h"

namespace bdr::agent {

struct FoldOptions {
  Database* database = nullptr;
  const conflict::HistoryStore* history = nullptr;
  const ChangeLog* log = nullptr;
  const Settings* settings = nullptr;
  const CaptureBarrier* barrier = nullptr;
  OriginId own;     // this node
  OriginId origin;  // whose changes are applied
  bool merges_own = false;
  // PostgreSQL's ids of our replication origins.
  const absl::flat_hash_map<uint32_t, NodeId>* node_of_roident = nullptr;
  int64_t stable_us = 0;
  // A transaction of the origin that had been put aside and is applied now, though progress has
  // passed it.
  Lsn letter = {};
  // The transaction will be rolled back, and something was left out of it: what is found tells
  // nothing of a key's base.
  bool rehearsal = false;
};

// A change that the user's function refused: the row stays as if the change had not been made.
struct RefusedChange {
  std::string schema;
  std::string table;
  std::string version_key;
  conflict::FoldChange change;
  std::string older;  // what the function was given, as jsonb
  std::string newer;
  std::string error;
};

// For the tables of one segment. Not thread-safe.
class FoldExecutor {
 public:
  // All outlive it. `group_end`: where the group ends, in its origin's WAL.
  FoldExecutor(const FoldOptions& options, Lsn group_end, Pipe* pipe,
               const FoundBefore* found_before)
      : options_(options),
        group_end_(group_end),
        pipe_(pipe),
        found_before_(found_before),
        found_rows_(options.node_of_roident) {}

  // Queues the locks of the rows at these keys; `ops` outlives it. Then Pipe::Finish().
  absl::Status Lock(const TableOps& ops);
  // Decides about all that is locked and queues what is to be written. Nothing is written where
  // something is added to `must_wait`. kAborted: roll back and come again.
  absl::Status Write(FoundBefore* must_wait);

  bool empty() const { return tables_.empty(); }

  // Adds an operation for the key if it has a history, or for every such key of the table. Their
  // rows point into `kept`.
  absl::Status AddKnownKey(const std::string& version_key, TableOps* ops,
                           std::deque<conflict::FoldRow>* kept) const;
  absl::Status AddKnownKeys(TableOps* ops, std::deque<conflict::FoldRow>* kept) const;

  // The row that stood at the key of an operation that was locked, as jsonb; "" for none.
  std::string FoundJson(const RowOp& op) const;
  const std::vector<RefusedChange>& refused() const { return refused_; }

 private:
  struct Found {
    FoldFound row;
    FoundRow at;
  };
  struct Table {
    const TableOps* ops = nullptr;
    conflict::Attnums attnums;
    conflict::FoldRow added;
    std::vector<conflict::FoldChange> truncates;
    std::map<std::string, Found> found;  // by version key
  };

  absl::Status QueueProgress(const postgres::TableInfo& table);
  absl::Status ReadProgress(const postgres::Result& result, const postgres::TableInfo& table);
  static Found ReadWhole(const BoundTable& table, FoundRow found, const postgres::Result& result,
                         int row);
  bool IsApplied(const conflict::FoldChange& change) const;
  absl::StatusOr<std::vector<conflict::FoldChange>> Truncates(const BoundTable& table) const;
  absl::Status WriteTable(Table& table, rocksdb::WriteBatch* batch, bool* first_base,
                          FoundBefore* must_wait);
  absl::StatusOr<FoldResult> FoldOne(Table& table, const RowOp& op);
  absl::StatusOr<conflict::FoldRow> CallHandler(const BoundTable& table,
                                                const std::string& version_key,
                                                const conflict::FoldState& older,
                                                const conflict::FoldChange& change,
                                                const conflict::FoldRow& newer);

  const FoldOptions& options_;
  const Lsn group_end_;
  Pipe* const pipe_;
  const FoundBefore* const found_before_;
  const FoundRows found_rows_;
  std::deque<Table> tables_;
  std::map<OriginId, Lsn> applied_;  // here, before this group
  Lsn local_now_;
  std::vector<RefusedChange> refused_;
};

}  // namespace bdr::agent
