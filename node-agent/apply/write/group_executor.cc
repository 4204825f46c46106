#include "node-agent/apply/write/group_executor.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/test_hooks.h"
#include "node-agent/apply/plan/seen.h"
#include "node-agent/apply/session/left_out.h"
#include "node-agent/apply/write/lock_order.h"
#include "node-agent/apply/write/owners_guard.h"
#include "node-agent/apply/write/refused_changes.h"
#include "node-agent/apply/write/row_change.h"
#include "node-agent/apply/write/run_statement.h"
#include "node-agent/apply/write/truncate.h"
#include "node-agent/tables/statements.h"

namespace bdr::agent {
namespace {

using conflict::ChangeKind;
using conflict::ConflictKind;
using conflict::Decision;
using conflict::Known;
using conflict::Rule;
using conflict::Verdict;
using conflict::Version;
using conflict::Winner;
using postgres::ColumnKind;
using postgres::Result;

// How far below its stamp a local row's commit time may lie when it is asked whether the row had
// been seen: far more than ever happens while clocks run forward.
constexpr int64_t kSeenSlackUs = 20'000;

std::vector<const LocalRow*> RowsOf(const std::vector<const RowOp*>& ops) {
  std::vector<const LocalRow*> rows;
  rows.reserve(ops.size());
  for (const RowOp* op : ops) rows.push_back(&op->row);
  return rows;
}

// Its statement could be written so that PostgreSQL takes it, but the rule would not see the rows:
// what it does is run behind the insert, over what the insert's own query gives by then.
absl::Status TakesUpserts(const postgres::TableInfo& table) {
  if (table.insert_rule.empty()) return absl::OkStatus();
  const std::string rule = postgres::QuoteIdentifier(table.insert_rule);
  return absl::FailedPreconditionError(absl::StrCat(
      "rule \"", table.insert_rule, "\" of table \"", table.DisplayName(),
      "\" fires ON INSERT when changes of other nodes are applied, and PostgreSQL refuses INSERT "
      "... "
      "ON CONFLICT where there is such a rule; let it fire for users alone (ALTER TABLE ",
      table.QualifiedName(), " ENABLE RULE ", rule,
      ") or drop it, and run \"bdrctl apply retry\""));
}

}  // namespace

absl::Status GroupExecutor::Run(GroupPlan& plan,
                                const absl::flat_hash_map<std::string, Version>& before) {
  before_ = &before;
  first_ = &plan.first();
  claimed_context_ = {
      .pipe = pipe_,
      .locks = options_.locks,
      .versions = store_,
      .origin = options_.origin,
      .first_lsn = first_->end_lsn,
      .last_lsn = plan.last().end_lsn,
      .own_node = options_.own_node,
      .is_pending = options_.is_pending,
      .merges_own = options_.merges_own,
      .node_of_roident = &options_.node_of_roident,
      .largest_raise_us = options_.largest_raise_us,
      .own_stamp = first_->stamp,
      .written = &written_,
      .before = before_,
      .found_before = found_before_,
      .registered = registered_,
      .may_keep = [this](const RowOp& op, const FoundRow& row) { return MayKeep(op, row.at); },
      .counts_claim = &options_.counts_claim};
  RETURN_IF_ERROR(LockTables(plan));
  for (Segment& segment : plan.segments()) {
    RETURN_IF_ERROR(RunSegment(plan, segment));
    if (!must_wait_.empty() || !must_register_.empty() || values_->wants()) {
      return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

// Rows are sent as values of the table's row type, and read before the plan waits for the table. If
// that type could change in between, the server process would take them apart by a shape that they
// do not have. It was never caught doing so, but a process that died beside an ALTER TABLE ... TYPE
// is what that would look like; a table that is locked first cannot change.
absl::Status GroupExecutor::LockTables(GroupPlan& plan) {
  std::map<uint32_t, const BoundTable*> tables;
  for (const Segment& segment : plan.segments()) {
    for (const TableOps& ops : segment.tables) {
      tables.emplace(ops.table->table().oid, ops.table.get());
    }
  }
  std::vector<const BoundTable*> locked;
  for (const auto& [oid, table] : tables) {
    locked.push_back(table);
    RETURN_IF_ERROR(agent::Run(pipe_, LockTableStatement(*table), {}, nullptr));
  }
  return GuardOwnersCode(pipe_, locked);
}

// First what has to be asked for before anything is locked: values that did not come along, and
// rows that hold what the segment claims. Then each table sends what it can, or locks its rows, in
// the order of the tables; what folds is decided, and what the statements left is found, locked,
// and decided about. Only once every table has decided, and none has to wait or wants anything, is
// that written: what must be given up is given up before it costs anything. The conflict log comes
// last, since by then it is known what has become of each change; and the truncate, which ends a
// segment.
absl::Status GroupExecutor::RunSegment(GroupPlan& plan, Segment& segment) {
  RETURN_IF_ERROR(FetchMoved(plan, segment));
  for (const TableOps& ops : segment.tables) {
    // What folds takes a value that did not come along from the row that it folds over.
    if (!ops.table->fold().folds()) WantValues(ops);
  }
  if (values_->wants()) return absl::OkStatus();
  FoldExecutor fold(options_.fold, plan.last().end_lsn, pipe_, found_before_);
  std::deque<TableRun> runs;
  bool claimed = false;
  for (const TableOps& ops : segment.tables) {
    TableRun& run = runs.emplace_back();
    run.ops = &ops;
    if (ops.table->fold().folds()) continue;
    const TableClaims* claims = claims_ == nullptr ? nullptr : claims_->Of(ops);
    if (claims == nullptr) continue;
    claimed = true;
    run.claimed.emplace(claimed_context_, &ops, claims);
    RETURN_IF_ERROR(run.claimed->QueueHolders());
  }
  // Locks nothing yet: that is done in the order of the tables.
  if (claimed) RETURN_IF_ERROR(pipe_->Finish());
  for (TableRun& run : runs) {
    if (run.ops->table->fold().folds()) {
      RETURN_IF_ERROR(fold.Lock(*run.ops));
      continue;
    }
    RETURN_IF_ERROR(run.claimed.has_value() ? run.claimed->QueueLock() : QueueFirst(run));
  }
  RETURN_IF_ERROR(pipe_->Finish());
  RETURN_IF_ERROR(Fold(fold, runs));
  if (!must_wait_.empty()) return absl::OkStatus();

  bool again = claimed;
  for (TableRun& run : runs) {
    if (run.unresolved.empty()) continue;
    again = true;
    RETURN_IF_ERROR(QueueFind(run, run.unresolved, /*lock=*/true));
  }
  if (again) {
    RETURN_IF_ERROR(pipe_->Finish());
    for (TableRun& run : runs) {
      RETURN_IF_ERROR(run.claimed.has_value() ? DecideClaimed(run) : DecideUnresolved(run));
    }
    if (!must_wait_.empty() || !must_register_.empty() || values_->wants()) {
      return absl::OkStatus();
    }
    for (TableRun& run : runs) {
      RETURN_IF_ERROR(run.claimed.has_value() ? run.claimed->QueueWrites() : QueueDecided(run));
    }
  }
  for (TableRun& run : runs) {
    for (const RowOp* op : run.dropped) {
      const Decision dropped = conflict::Decide(ChangeOf(*op), nullptr, KnownBefore(*op));
      Lose(run, *op, dropped, Before(*op), run.found[op].json);
    }
    RETURN_IF_ERROR(ConflictLog(pipe_, options_.origin).Add(*run.ops->table, run.lost));
  }
  RETURN_IF_ERROR(pipe_->Finish());
  return segment.truncate.has_value() ? Truncate(*segment.truncate) : absl::OkStatus();
}

absl::Status GroupExecutor::DecideClaimed(TableRun& run) {
  ClaimedTable& table = *run.claimed;
  RETURN_IF_ERROR(table.Decide());
  must_wait_.insert(table.must_wait().begin(), table.must_wait().end());
  for (const RowOp* op : table.wanted()) values_->Want(run.ops->table, *op);
  for (const RowOp* op : table.lost_values()) LoseValues(run, *op, "");
  must_register_.insert(must_register_.end(), table.unregistered().begin(),
                        table.unregistered().end());
  unseated_.insert(unseated_.end(), table.unseated().begin(), table.unseated().end());
  for (const ClaimedLoss& loss : table.losses()) {
    if (!loss.by_claim) {
      Lose(run, *loss.op, loss.decision, loss.local, loss.local_row);
      continue;
    }
    ++conflicts_.by_kind[ConflictKind::kUniqueClaimed];
    RowConflict& conflict = Log(run, *loss.op, loss.decision, loss.local, loss.local_row);
    if (loss.key != nullptr) conflict.key = loss.key;
  }
  return absl::OkStatus();
}

// Where rows fold nothing is lost: what is logged is that two changes met which did not know of
// each other.
absl::Status GroupExecutor::Fold(FoldExecutor& fold, std::deque<TableRun>& runs) {
  if (fold.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(fold.Write(&must_wait_));
  if (!must_wait_.empty()) return absl::OkStatus();
  for (TableRun& run : runs) {
    if (!run.ops->table->fold().folds() || options_.merges_own) continue;
    for (const RowOp& op : run.ops->rows) {
      const Decision decision = conflict::DecideFolded(ChangeOf(op), KnownBefore(op));
      if (decision.conflict == ConflictKind::kNone) continue;
      Lose(run, op, decision, Before(op), fold.FoundJson(op));
    }
  }
  return PutRefusedAside(fold);
}

absl::Status GroupExecutor::PutRefusedAside(const FoldExecutor& fold) {
  if (fold.refused().empty()) return absl::OkStatus();
  for (const RefusedChange& refused : fold.refused()) {
    RETURN_IF_ERROR(QueueRefused(refused, pipe_, &refused_));
  }
  return pipe_->Finish();
}

// A row whose key changed comes without the large values that did not; they still stand in the row
// of the old key, if that is the one which had been seen. In the row itself they stand for those of
// a domain, which cannot be sent as null; there they only fill the place, and are not written.
absl::Status GroupExecutor::FetchMoved(GroupPlan& plan, Segment& segment) {
  for (TableOps& ops : segment.tables) {
    if (ops.table->fold().folds()) continue;
    for (RowOp& op : ops.rows) {
      if (op.is_delete() || !HasUnchanged(op.row)) continue;
      const bool moved = op.moved_from.has_value() && !op.keeps_found;
      if (!moved && !ops.table->RefusesNulls(op.row)) continue;
      std::vector<int> columns;
      for (size_t i = 0; i < op.row.size(); ++i) {
        if (op.row[i].kind == ColumnKind::kUnchangedToast) columns.push_back(static_cast<int>(i));
      }
      RowOp old = op;
      if (moved) old.row = *op.moved_from;
      ASSIGN_OR_RETURN(const std::vector<std::string> params, KeyParams(*ops.table, {&old.row}));
      std::vector<bool> shape(op.row.size(), false);
      for (const int column : columns) shape[column] = true;
      const BoundTable& table = *ops.table;
      const auto before = before_->find(op.moved_from_key);
      const bool before_seen =
          before == before_->end() || SeenFromTheFirst(op, before->second.stamp);
      RETURN_IF_ERROR(agent::Run(
          pipe_, FetchColumnsStatement(table, shape), params,
          [&](const Result& result) {
            if (result.rows() != 1) return absl::OkStatus();
            const conflict::FoundRow found = found_rows_.At(result, 0).at;
            // Also a row that this transaction wrote may still have a value of the other node's.
            const bool seen = before_seen && (found.writer == conflict::Writer::kThisTransaction ||
                                              SeenByTime(op, found));
            if (moved && !seen) return absl::OkStatus();
            for (size_t i = 0; i < columns.size(); ++i) {
              const int place = static_cast<int>(i) + kFoundColumns;
              postgres::ColumnValue& value = op.row[columns[i]];
              if (moved) value = {};
              if (result.is_null(0, place)) continue;
              value.data = plan.Own(std::string(result.value(0, place)));
              if (moved) {
                const bool binary = table.table().columns[columns[i]].binary;
                value.kind = binary ? ColumnKind::kBinary : ColumnKind::kText;
              }
            }
            return absl::OkStatus();
          },
          /*binary_result=*/true));
      RETURN_IF_ERROR(pipe_->Finish());
    }
  }
  return absl::OkStatus();
}

bool GroupExecutor::SeenFromTheFirst(const RowOp& op, conflict::Stamp stamp) const {
  return SeenBy(*op.first_header, options_.origin.node).Has(stamp);
}

// At a time and by an origin that the first change of `op` had seen.
bool GroupExecutor::SeenByTime(const RowOp& op, const conflict::FoundRow& found) const {
  if (!found.time_us.has_value()) return false;
  const bool local = found.writer != conflict::Writer::kNode;
  const int64_t seen_us =
      SeenUntilTime(*op.first_header, options_.origin.node, local ? options_.own_node : found.node);
  // An applied row's commit time is never below its stamp.
  return seen_us == INT64_MAX || *found.time_us + (local ? kSeenSlackUs : 0) <= seen_us;
}

// Whether the values that the change left alone may be taken from the row found: it is the one that
// the change was made from.
bool GroupExecutor::MayKeep(const RowOp& op, const conflict::FoundRow& found) const {
  if (op.keeps_found || !HasUnchanged(op.row)) return true;
  const std::optional<Version> before = Before(op);
  // Recorded in an attempt before, the change itself tells nothing.
  if (!before.has_value() || before->dead || before->stamp >= op.stamp) {
    return SeenByTime(op, found);
  }
  const bool local = found.writer != conflict::Writer::kNode;
  if (local && before->stamp.node != options_.own_node) return SeenByTime(op, found);
  if (local && found.time_us.has_value() && before->stamp.time_us < *found.time_us) return false;
  return SeenFromTheFirst(op, before->stamp);
}

// What is known without looking at the row.
void GroupExecutor::WantValues(const TableOps& ops) {
  for (const RowOp& op : ops.rows) {
    if (op.is_delete() || op.keeps_found || !HasUnchanged(op.row)) continue;
    const std::optional<Version> before = Before(op);
    if (conflict::IsKnownOlder(ChangeOf(op), KnownBefore(op))) continue;  // it will be dropped
    const bool unseen =
        before.has_value() && before->stamp < op.stamp && !SeenFromTheFirst(op, before->stamp);
    // The row of the old key was of no use; or none stands where the value cannot be left out.
    const bool nothing_to_keep = op.moved_from.has_value() || ops.table->RefusesNulls(op.row);
    if (unseen || nothing_to_keep || values_->IsDisputed(op, options_.origin)) {
      values_->Want(ops.table, op);
    }
  }
}

std::optional<Version> GroupExecutor::Before(const RowOp& op) const {
  const auto found = before_->find(op.version_key);
  return found == before_->end() ? std::nullopt : std::optional<Version>(found->second);
}

// Sorts out what is decided already by what is known (older than a version of its key, or than a
// TRUNCATE of a table without a key), then has the rest written by statements that check the row
// found: deletes first, so that values are free for others, updates by the columns that they set,
// inserts last. Within a statement rows go in the order of their keys, as all appliers lock them.
absl::Status GroupExecutor::QueueFirst(TableRun& run) {
  const TableOps& ops = *run.ops;
  std::vector<const RowOp*> plain;
  std::vector<const RowOp*> deletes;
  std::vector<const RowOp*> inserts;
  std::map<std::vector<bool>, std::vector<const RowOp*>> updates;

  for (const RowOp& op : ops.rows) {
    if (op.version_key.empty()) {
      // The rows of such a table have no versions, but it has its newest truncate.
      const auto truncate = before_->find(conflict::VersionKey(ops.table->table().oid, ""));
      if (truncate == before_->end() || !conflict::IsTruncated(op.stamp, truncate->second.stamp)) {
        plain.push_back(&op);
      }
      continue;
    }
    // What is older than the newest known version of its key never reaches the table.
    const conflict::RowChange change = ChangeOf(op);
    const Known known = KnownBefore(op);
    if (conflict::IsKnownOlder(change, known) &&
        (known.before.dead || !BDR_RULE_BROKEN("null_time"))) {
      if (conflict::Decide(change, nullptr, known).conflict != ConflictKind::kNone) {
        run.dropped.push_back(&op);
      }
      continue;
    }
    if (op.keeps_found && ops.table->RefusesNulls(op.row)) {
      // No row stands there, and none can be made.
      if (op.values_lost) LoseValues(run, op, "");
    } else if (op.is_delete()) {
      deletes.push_back(&op);
    } else if (op.by_insert) {
      inserts.push_back(&op);
    } else {
      updates[ops.table->Settable(op.row)].push_back(&op);
    }
  }
  SortByKey(&deletes);
  SortByKey(&inserts);
  RETURN_IF_ERROR(QueueBatch(run, Batch::kDelete, std::move(deletes)));
  for (auto& [shape, rows] : updates) {
    SortByKey(&rows);
    RETURN_IF_ERROR(QueueBatch(run, Batch::kUpdate, std::move(rows)));
  }
  RETURN_IF_ERROR(QueueBatch(run, Batch::kInsert, std::move(inserts)));
  RETURN_IF_ERROR(QueueBatch(run, Batch::kPlainInsert, std::move(plain)));
  return run.dropped.empty() ? absl::OkStatus() : QueueFind(run, run.dropped, /*lock=*/false);
}

// Rows of one shape, in statements of bounded size. Each kind of statement tells by itself which
// rows it has written: an update or delete returns their places, an upsert only says how many. What
// it left is unresolved. Identities that an UPDATE cannot set are replaced before it, in the same
// order of keys, so that what follows finds rows of this transaction.
absl::Status GroupExecutor::QueueBatch(TableRun& run, Batch batch,
                                       std::vector<const RowOp*> all_rows) {
  const BoundTable& table = *run.ops->table;
  for (size_t from = 0; from < all_rows.size(); from += kRowsPerStatement) {
    const std::vector<const RowOp*> rows(
        all_rows.begin() + from,
        all_rows.begin() + std::min(from + kRowsPerStatement, all_rows.size()));
    // Places that come back were written; the others are looked at.
    const auto by_place = [&run, rows](const Result& result) -> absl::Status {
      std::vector<bool> written(rows.size(), false);
      for (int i = 0; i < result.rows(); ++i) {
        ASSIGN_OR_RETURN(const size_t place, PlaceOf(result.value(i, 0), rows.size()));
        written[place] = true;
      }
      for (size_t i = 0; i < rows.size(); ++i) {
        if (!written[i]) run.unresolved.push_back(rows[i]);
      }
      return absl::OkStatus();
    };
    switch (batch) {
      case Batch::kPlainInsert: {
        ASSIGN_OR_RETURN(const std::vector<std::string> params, RowParams(table, RowsOf(rows), {}));
        RETURN_IF_ERROR(agent::Run(
            pipe_,
            PlainInsertStatement(table, std::vector<bool>(table.table().columns.size(), true)),
            params, AllWritten(table.table(), kInsertsRows, rows.size())));
        break;
      }
      case Batch::kInsert: {
        RETURN_IF_ERROR(TakesUpserts(table.table()));
        int64_t oldest_us = rows.front()->stamp.time_us;
        for (const RowOp* op : rows) oldest_us = std::min(oldest_us, op->stamp.time_us);
        RETURN_IF_ERROR(QueueReplace(table, rows, /*checked=*/true));
        ASSIGN_OR_RETURN(
            const std::vector<std::string> params,
            RowParams(table, RowsOf(rows),
                      {EncodeTimestamptz(oldest_us - options_.largest_raise_us), SeenParam()}));
        RETURN_IF_ERROR(
            agent::Run(pipe_, InsertStatement(table), params, [&run, rows](const Result& result) {
              // Which rows were left is not said; those with this transaction's xid were written.
              if (result.affected() != static_cast<int64_t>(rows.size())) {
                run.unresolved.insert(run.unresolved.end(), rows.begin(), rows.end());
              }
              return absl::OkStatus();
            }));
        break;
      }
      case Batch::kUpdate: {
        const std::vector<bool> shape = table.Settable(rows.front()->row);
        const int64_t slack_us = HasUnchanged(rows.front()->row) ? kSeenSlackUs : 0;
        RETURN_IF_ERROR(QueueReplace(table, rows, /*checked=*/true));
        ASSIGN_OR_RETURN(const std::vector<std::string> params,
                         RowParams(table, RowsOf(rows), {TimesParam(rows), SeenParam(slack_us)}));
        RETURN_IF_ERROR(
            agent::Run(pipe_, UpdateStatement(table, shape, /*checked=*/true), params, by_place));
        break;
      }
      case Batch::kDelete: {
        ASSIGN_OR_RETURN(std::vector<std::string> params, KeyParams(table, RowsOf(rows)));
        params.push_back(TimesParam(rows));
        params.push_back(SeenParam());
        RETURN_IF_ERROR(
            agent::Run(pipe_, DeleteStatement(table, /*checked=*/true), params, by_place));
        break;
      }
    }
  }
  return absl::OkStatus();
}

// Rows of one shape. Those that it writes are this transaction's own afterwards, so the statement
// that follows passes them.
absl::Status GroupExecutor::QueueReplace(const BoundTable& table,
                                         const std::vector<const RowOp*>& rows, bool checked) {
  if (!table.has_identities()) return absl::OkStatus();
  const std::vector<bool> shape = table.Settable(rows.front()->row);
  ASSIGN_OR_RETURN(
      const std::vector<std::string> params,
      RowParams(table, RowsOf(rows),
                {TimesParam(rows), SeenParam(HasUnchanged(rows.front()->row) ? kSeenSlackUs : 0)}));
  return agent::Run(pipe_, ReplaceStatement(table, shape, checked), params,
                    AllReplaced(table.table()));
}

std::string GroupExecutor::TimesParam(const std::vector<const RowOp*>& rows) const {
  std::vector<int64_t> times;
  times.reserve(rows.size());
  for (const RowOp* op : rows) times.push_back(op->stamp.time_us - options_.largest_raise_us);
  return EncodeTimestamptzArray(times);
}

// The group's first transaction had seen the least of all: what it had seen, all had.
std::string GroupExecutor::SeenParam(int64_t local_slack_us) const {
  const conflict::Seen seen = SeenBy(*first_, options_.origin.node);
  const int64_t local_us = seen.Until(options_.own_node);
  return EncodeTimestamptzArray(ByRoident<int64_t>(
      options_.node_of_roident, local_us == INT64_MAX ? local_us : local_us - local_slack_us,
      /*unknown=*/INT64_MIN, [&seen](NodeId node) { return seen.Until(node); }));
}

conflict::RowChange GroupExecutor::ChangeOf(const RowOp& op, bool sent) const {
  return bdr::agent::ChangeOf(op, options_.origin.node, sent, options_.merges_own);
}

Known GroupExecutor::KnownBefore(const RowOp& op) const {
  Known known{.largest_raise_us = options_.largest_raise_us, .own_node = options_.own_node};
  const auto before = before_->find(op.version_key);
  if (before != before_->end()) known.before = KnownOf(before->second);
  return known;
}

absl::Status GroupExecutor::QueueFind(TableRun& run, const std::vector<const RowOp*>& all_rows,
                                      bool lock) {
  const BoundTable& table = *run.ops->table;
  std::vector<const RowOp*> sorted = all_rows;
  SortByKey(&sorted);
  for (size_t from = 0; from < sorted.size(); from += kRowsPerStatement) {
    const std::vector<const RowOp*> rows(
        sorted.begin() + from, sorted.begin() + std::min(from + kRowsPerStatement, sorted.size()));
    ASSIGN_OR_RETURN(const std::vector<std::string> params, KeyParams(table, RowsOf(rows)));
    RETURN_IF_ERROR(agent::Run(
        pipe_, FindStatement(table, lock), params, [this, &run, rows](const Result& result) {
          return found_rows_.Read(result, rows.size(), kFoundColumns,
                                  [&run, &rows](size_t place, FoundRow found, int) {
                                    run.found[rows[place]] = std::move(found);
                                    return absl::OkStatus();
                                  });
        }));
  }
  return absl::OkStatus();
}

absl::Status GroupExecutor::DecideUnresolved(TableRun& run) {
  std::vector<std::string> keys;
  for (const RowOp* op : run.unresolved) keys.push_back(op->version_key);
  ASSIGN_OR_RETURN(const std::vector<std::optional<Version>> now,
                   versions_->Get(keys, claimed_context_.last_lsn));
  for (size_t i = 0; i < run.unresolved.size(); ++i) {
    const RowOp& op = *run.unresolved[i];
    if (Decide(run, op, now[i]) == Verdict::kVanished) {
      // Deleted while it was being written, or never let in.
      return LeftOut(run.ops->table->table(), kInsertsRows);
    }
  }
  return absl::OkStatus();
}

// What becomes of a change whose statement did not write it. First what is known is put together,
// of the row that was found and locked since and of its key; then the rule is asked; then its
// verdict is carried out, which is where values come in that did not travel with the change: what
// cannot be written without them is asked for and not logged, since it will be decided once more.
Verdict GroupExecutor::Decide(TableRun& run, const RowOp& op, const std::optional<Version>& now) {
  const auto found_at = run.found.find(&op);
  const FoundRow* found = found_at == run.found.end() ? nullptr : &found_at->second;
  const std::optional<std::string> looks =
      found == nullptr ? std::nullopt : std::optional<std::string>(found->xmin);
  if (BDR_RULE_BROKEN("xid_is_no_version") && found != nullptr &&
      found->at.time_us.value_or(0) > op.stamp.time_us) {
    return Verdict::kDrop;
  }
  const auto waited = found_before_->find(op.version_key);
  Known known = KnownBefore(op);
  if (now.has_value()) known.newest = KnownOf(*now);
  known.capture_passed = waited != found_before_->end() && waited->second == looks;
  const Decision decision =
      conflict::Decide(ChangeOf(op, /*sent=*/true), found == nullptr ? nullptr : &found->at, known);
  switch (decision.verdict) {
    case Verdict::kDrop:
    case Verdict::kNothing:
    case Verdict::kStands:
      break;
    case Verdict::kWait:
      must_wait_[op.version_key] = looks;
      return decision.verdict;
    case Verdict::kVanished:
      return decision.verdict;
    case Verdict::kInsert:
      if (!MayInsert(run, op)) return decision.verdict;
      run.insert_now.push_back(&op);
      break;
    case Verdict::kWrite:
      if (!op.is_delete() && !MayKeep(op, found->at)) {
        values_->Want(run.ops->table, op);
        return decision.verdict;
      }
      if (op.values_lost) LoseValues(run, op, found->json);
      (op.is_delete() ? run.delete_now : run.update_now).push_back(&op);
      break;
  }
  if (decision.conflict == ConflictKind::kNone) return decision.verdict;
  const std::optional<Version> met = decision.met == conflict::Met::kNewest ? now
                                     : decision.met == conflict::Met::kCommitTime
                                         ? LocalByTime(*found->at.time_us)
                                         : Before(op);
  static const std::string kNoRow;
  Lose(run, op, decision, met, found == nullptr ? kNoRow : found->json);
  return decision.verdict;
}

// Of a row that is to be written where none stands.
bool GroupExecutor::MayInsert(TableRun& run, const RowOp& op) {
  if (!HasUnchanged(op.row)) return true;
  // Its death is on its way: there is nothing to be written.
  if (op.keeps_found && !op.values_lost) return false;
  if (!op.keeps_found) {
    values_->Want(run.ops->table, op);
    return false;
  }
  LoseValues(run, op, "");
  return NullsWillDo(*run.ops->table, op);
}

Version GroupExecutor::LocalByTime(int64_t time_us) const {
  return {.stamp = {.time_us = time_us, .node = options_.own_node},
          .origin = {.node = options_.own_node, .incarnation = 0},
          .end_lsn = Lsn{0}};
}

// `local`: the version that the decision says the change met.
void GroupExecutor::Lose(TableRun& run, const RowOp& op, const Decision& decision,
                         const std::optional<Version>& local, const std::string& local_row) {
  if (decision.conflict == ConflictKind::kNone) return;
  ++conflicts_.by_kind[decision.conflict];
  ++conflicts_.by_table[{run.ops->table->table().DisplayName(),
                         std::string(conflict::ToString(decision.conflict))}];
  Log(run, op, decision, decision.met == conflict::Met::kNothing ? std::nullopt : local, local_row);
}

RowConflict& GroupExecutor::Log(TableRun& run, const RowOp& op, const Decision& decision,
                                const std::optional<Version>& local, const std::string& local_row) {
  RowConflict& conflict = run.lost.emplace_back();
  conflict = {.kind = decision.conflict,
              .winner = decision.winner,
              .rule = decision.rule,
              .key = &op.row,
              .local = local,
              .local_row = local_row,
              .row = op.is_delete() ? nullptr : &op.row,
              .stamp_us = op.stamp.time_us,
              .end_lsn = op.end_lsn};
  if (local.has_value()) {
    conflict.seen_us = SeenUntilTime(*op.header, options_.origin.node, local->stamp.node);
  }
  return conflict;
}

// Nobody has what the change left alone: what stands here stays.
void GroupExecutor::LoseValues(TableRun& run, const RowOp& op, const std::string& local_row) {
  ++conflicts_.by_kind[ConflictKind::kLargeValueUnavailable];
  Log(run, op,
      {.conflict = ConflictKind::kLargeValueUnavailable,
       .winner = Winner::kLocal,
       .rule = Rule::kNobodyHasValues},
      Before(op), local_row);
}

bool GroupExecutor::NullsWillDo(const BoundTable& table, const RowOp& op) {
  for (size_t i = 0; i < op.row.size(); ++i) {
    if (op.row[i].kind == ColumnKind::kUnchangedToast && table.table().columns[i].not_null) {
      return false;
    }
  }
  return true;
}

absl::Status GroupExecutor::QueueDecided(TableRun& run) {
  const BoundTable& table = *run.ops->table;
  // The rows are locked; only what was not there yet can have changed.
  if (!run.delete_now.empty()) {
    SortByKey(&run.delete_now);
    ASSIGN_OR_RETURN(const std::vector<std::string> params,
                     KeyParams(table, RowsOf(run.delete_now)));
    RETURN_IF_ERROR(agent::Run(pipe_, DeleteStatement(table, /*checked=*/false), params,
                               AllWritten(table.table(), kDeletesRows, run.delete_now.size())));
  }
  std::map<std::vector<bool>, std::vector<const RowOp*>> updates;
  for (const RowOp* op : run.update_now) updates[table.Settable(op->row)].push_back(op);
  for (auto& [shape, rows] : updates) {
    SortByKey(&rows);
    const std::vector<bool>& set = shape;
    RETURN_IF_ERROR(QueueReplace(table, rows, /*checked=*/false));
    ASSIGN_OR_RETURN(const std::vector<std::string> params,
                     RowParams(table, RowsOf(rows), {TimesParam(rows), SeenParam()}));
    RETURN_IF_ERROR(agent::Run(pipe_, UpdateStatement(table, set, /*checked=*/false), params,
                               AllWritten(table.table(), kUpdatesRows, rows.size())));
  }
  if (!run.insert_now.empty()) {
    RETURN_IF_ERROR(TakesUpserts(table.table()));
    SortByKey(&run.insert_now);
    int64_t oldest_us = run.insert_now.front()->stamp.time_us;
    for (const RowOp* op : run.insert_now) oldest_us = std::min(oldest_us, op->stamp.time_us);
    ASSIGN_OR_RETURN(
        const std::vector<std::string> params,
        RowParams(table, RowsOf(run.insert_now),
                  {EncodeTimestamptz(oldest_us - options_.largest_raise_us), SeenParam()}));
    RETURN_IF_ERROR(
        agent::Run(pipe_, InsertStatement(table), params,
                   AllWritten(table.table(), kInsertsRows | kUpdatesRows, run.insert_now.size())));
  }
  return absl::OkStatus();
}

// What was written later here stays. Of all else the history says what is left of it.
// Table by table: locked, emptied of all that is not surely newer, and asked whether that is so;
// then all rows that have a history are folded, which makes those again that the truncate does not
// reach.
absl::Status GroupExecutor::TruncateFolded(const TruncateOp& truncate) {
  std::deque<TableOps> tables;
  std::deque<conflict::FoldRow> kept;
  FoldExecutor fold(options_.fold, truncate.end_lsn, pipe_, found_before_);
  for (const std::shared_ptr<const BoundTable>& table : truncate.tables) {
    if (!table->fold().folds()) continue;
    std::string remote;
    for (const auto& [roident, node] : options_.node_of_roident) {
      absl::StrAppend(&remote, remote.empty() ? "" : ", ", roident);
    }
    // What users have left in a table that was truncated here was written behind that.
    const std::string newer =
        options_.merges_own
            ? "true"
            : absl::StrCat(
                  "pg_catalog.pg_xact_commit_timestamp(t.xmin) > "
                  "('epoch'::pg_catalog.timestamptz + ",
                  truncate.stamp.time_us, " * '1 microsecond'::pg_catalog.interval)",
                  // Of others the time tells nothing, and the history brings back what is newer.
                  options_.forwards_foreign_origins
                      ? " AND (pg_catalog.pg_xact_commit_timestamp_origin(t.xmin)).roident = 0"
                      : "");
    RETURN_IF_ERROR(options_.locks->QueueTableLock(pipe_, table->Only(),
                                                   table->table().DisplayName(), table->table().oid,
                                                   "ACCESS EXCLUSIVE"));
    const std::string older = absl::StrCat(
        table->Only(), " AS t WHERE NOT COALESCE((", newer,
        ") AND NOT (pg_catalog.pg_xact_commit_timestamp_origin(t.xmin)).roident = ANY (ARRAY[",
        remote, "]::pg_catalog.oid[]), false)");
    RETURN_IF_ERROR(pipe_->Exec(absl::StrCat("DELETE FROM ", older)));
    // The table is locked: what is left of them was left out.
    RETURN_IF_ERROR(pipe_->Exec(
        absl::StrCat("SELECT EXISTS (SELECT FROM ", older, ")"), [&table](const Result& result) {
          return result.value(0, 0) == "f" ? absl::OkStatus()
                                           : LeftOut(table->table(), kDeletesRows);
        }));
    RETURN_IF_ERROR(pipe_->Finish());
    TableOps& ops = tables.emplace_back();
    ops.table = table;
    RETURN_IF_ERROR(fold.AddKnownKeys(&ops, &kept));
    if (!ops.rows.empty()) RETURN_IF_ERROR(fold.Lock(ops));
  }
  if (fold.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(pipe_->Finish());
  RETURN_IF_ERROR(fold.Write(&must_wait_));
  if (must_wait_.empty()) RETURN_IF_ERROR(PutRefusedAside(fold));
  return pipe_->Finish();
}

absl::Status GroupExecutor::Truncate(const TruncateOp& truncate) {
  RETURN_IF_ERROR(TruncateFolded(truncate));
  TruncateOp others = truncate;
  std::erase_if(others.tables, [](const auto& table) { return table->fold().folds(); });
  if (others.tables.empty() || !must_wait_.empty()) return absl::OkStatus();
  Truncater truncater(options_, pipe_, versions_, claimed_context_.last_lsn, found_before_);
  RETURN_IF_ERROR(truncater.Run(others));
  must_wait_.insert(truncater.must_wait().begin(), truncater.must_wait().end());
  if (truncater.conflicts() > 0) {
    conflicts_.by_kind[ConflictKind::kTruncateOriginDiffers] += truncater.conflicts();
  }
  return absl::OkStatus();
}

}  // namespace bdr::agent
