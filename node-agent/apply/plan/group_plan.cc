#include "node-agent/apply/plan/group_plan.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/test_hooks.h"
#include "node-agent/apply/plan/missing_values.h"
#include "node-agent/tables/claim_reader.h"

namespace bdr::agent {
namespace {

using conflict::ChangeKind;
using postgres::ColumnKind;

// What the later row leaves out it takes from the earlier one of the same key.
void FillUnchanged(const LocalRow& earlier, LocalRow* later) {
  if (earlier.size() != later->size()) return;  // the table's shape changed in between
  for (size_t i = 0; i < later->size(); ++i) {
    if ((*later)[i].kind == ColumnKind::kUnchangedToast) (*later)[i] = earlier[i];
  }
}

// The same within a plan, where it has to be remembered.
void FillFromEarlier(const RowOp& earlier, RowOp* later) {
  if (earlier.row.size() != later->row.size()) return;
  for (size_t i = 0; i < later->row.size(); ++i) {
    if (later->row[i].kind != ColumnKind::kUnchangedToast ||
        earlier.row[i].kind == ColumnKind::kUnchangedToast) {
      continue;
    }
    later->row[i] = earlier.row[i];
    const int column = static_cast<int>(i);
    for (const RowOp::Filled& filled : earlier.filled) {
      if (filled.column == column) later->filled.push_back(filled);
    }
    later->filled.push_back(
        {.column = column, .version_key = earlier.version_key, .stamp = earlier.stamp});
  }
}

void TakeOrigin(const RowOp& earlier, RowOp* later) {
  later->first_header = earlier.first_header;
  if (later->moved_from.has_value()) return;
  later->moved_from = earlier.moved_from;
  later->moved_from_key = earlier.moved_from_key;
}

}  // namespace

size_t GroupSize(absl::Span<const GroupMember> next, int64_t no_truncate_before_us) {
  bool keyless = false;
  for (size_t i = 0; i < next.size(); ++i) {
    keyless = keyless || next[i].keyless;
    if (i > 0 && keyless && next[i].stamp_us > no_truncate_before_us) return i;
  }
  return next.size();
}

absl::Status GroupPlan::Add(std::shared_ptr<const Piece> piece, const Resolve& resolve) {
  pieces_.push_back(std::move(piece));
  const Piece& kept = *pieces_.back();
  for (const RemoteChange& change : kept.changes) {
    RETURN_IF_ERROR(AddChange(change, &kept.header, resolve));
  }
  changes_ += kept.changes.size();
  bytes_ += kept.bytes;
  if (kept.last) ++transactions_;
  return absl::OkStatus();
}

TableOps& GroupPlan::OpsFor(const std::shared_ptr<const BoundTable>& table) {
  Segment& segment = segments_.back();
  const auto [place, is_new] = table_places_.try_emplace(table->table().oid, segment.tables.size());
  if (!is_new && segment.tables[place->second].table != table) {
    // The relation was announced anew in between (its columns changed). What follows must not
    // overtake what came before: it goes into a segment of its own.
    segments_.emplace_back();
    table_places_.clear();
    row_places_.clear();
    return OpsFor(table);
  }
  if (is_new) segment.tables.push_back({.table = table, .rows = {}, .superseded = {}});
  return segment.tables[place->second];
}

absl::Status GroupPlan::Put(TableOps& ops, RowOp op) {
  if (op.version_key.empty()) {
    ops.rows.push_back(std::move(op));
    return absl::OkStatus();
  }
  const auto [place, is_new] = row_places_.try_emplace(op.version_key, ops.rows.size());
  if (is_new) {
    ops.rows.push_back(std::move(op));
    return absl::OkStatus();
  }
  RowOp& earlier = ops.rows[place->second];
  if (op.is_delete()) {
    op.by_insert = earlier.by_insert;
  } else {
    op.first_header = earlier.first_header;
    // A row that was deleted within the group is written whole again.
    op.by_insert = earlier.is_delete() || earlier.by_insert;
    if (!earlier.is_delete()) {
      FillFromEarlier(earlier, &op);
      TakeOrigin(earlier, &op);
    }
  }
  // What its own transaction took back never stood: deferred constraints let another row hold it.
  if (!earlier.is_delete() && earlier.end_lsn != op.end_lsn && HasClaims(ops.table->table())) {
    ops.superseded.push_back(std::move(earlier));
  }
  earlier = std::move(op);
  return absl::OkStatus();
}

// First the table: a change of one that is gone is only noted. Then the history, which wants every
// change by itself, before the change collapses with others of its row. Then the row. A change of a
// key becomes a delete of the old one, put first so that a later row with that key stands, and an
// insert of the new one, which takes along what the old row still has to give: large values that
// did not come, from an earlier change in the plan or from the row where it began.
absl::Status GroupPlan::AddChange(const RemoteChange& change, const TransactionHeader* header,
                                  const Resolve& resolve) {
  if (std::holds_alternative<postgres::TruncateMessage>(change.message)) {
    return AddTruncate(change, header, resolve);
  }
  ASSIGN_OR_RETURN(const Resolved resolved, resolve(change.relation, *header));
  if (resolved.gone != nullptr) {
    not_written_.push_back({.change = &change, .header = header, .what = resolved.gone});
  }
  if (resolved.table == nullptr) return absl::OkStatus();
  const std::shared_ptr<const BoundTable>& table = resolved.table;
  if (keyed_only_ && !table->table().has_key) return absl::OkStatus();
  TableOps& ops = OpsFor(table);
  // Own changes are in the history since they were captured.
  if (table->fold().keeps_history() && !keyed_only_) {
    ASSIGN_OR_RETURN(
        std::vector<KeyedChange> changes,
        FoldChangesOf(change.message, table->columns(), *header, origin_, change.number));
    std::move(changes.begin(), changes.end(), std::back_inserter(ops.changes));
  }
  const bool keyed = table->table().has_key;
  const uint32_t oid = table->table().oid;
  const auto op_for = [&](ChangeKind kind, const postgres::Tuple& tuple) -> absl::StatusOr<RowOp> {
    RowOp op;
    op.kind = kind;
    op.by_insert = kind == ChangeKind::kInsert;
    ASSIGN_OR_RETURN(op.row, table->ToLocal(tuple, &owned_));
    if (keyed) {
      ASSIGN_OR_RETURN(const std::string key, table->columns().Key(tuple));
      op.version_key = conflict::VersionKey(oid, key);
    }
    op.stamp = header->stamp;
    op.end_lsn = header->end_lsn;
    op.header = op.first_header = header;
    return op;
  };

  if (const auto* insert = std::get_if<postgres::InsertMessage>(&change.message)) {
    ASSIGN_OR_RETURN(RowOp op, op_for(ChangeKind::kInsert, insert->row));
    return Put(ops, std::move(op));
  }
  if (!keyed) {
    return absl::FailedPreconditionError(absl::StrCat(
        "table \"", table->table().DisplayName(),
        "\" has no key here, but rows of it were updated or deleted elsewhere; give it the same "
        "primary key on every node and run \"bdrctl apply retry\""));
  }
  if (const auto* erase = std::get_if<postgres::DeleteMessage>(&change.message)) {
    ASSIGN_OR_RETURN(RowOp op, op_for(ChangeKind::kDelete, erase->old_row));
    return Put(ops, std::move(op));
  }
  const auto& update = std::get<postgres::UpdateMessage>(change.message);
  ASSIGN_OR_RETURN(RowOp op, op_for(ChangeKind::kUpdate, update.row));
  if (update.old_kind != 0) {
    ASSIGN_OR_RETURN(RowOp old, op_for(ChangeKind::kDelete, update.old_row));
    if (update.old_kind == 'O') FillUnchanged(old.row, &op.row);
    if (old.version_key != op.version_key) {
      // A key change is a delete of the old key and an insert of the new one.
      op.kind = ChangeKind::kInsert;
      op.by_insert = true;
      if (HasUnchanged(op.row)) {
        op.moved_from = old.row;
        op.moved_from_key = old.version_key;
        const auto earlier = row_places_.find(old.version_key);
        if (earlier != row_places_.end() && !ops.rows[earlier->second].is_delete()) {
          const RowOp& moved = ops.rows[earlier->second];
          FillFromEarlier(moved, &op);
          op.first_header = moved.first_header;
          // Moved more than once: the values stand where it began.
          if (moved.moved_from.has_value()) {
            op.moved_from = moved.moved_from;
            op.moved_from_key = moved.moved_from_key;
          }
        }
        if (!HasUnchanged(op.row)) op.moved_from.reset();
      }
      if (!BDR_RULE_BROKEN("old_key")) RETURN_IF_ERROR(Put(ops, std::move(old)));
    }
  }
  return Put(ops, std::move(op));
}

absl::Status GroupPlan::AddTruncate(const RemoteChange& change, const TransactionHeader* header,
                                    const Resolve& resolve) {
  const auto& message = std::get<postgres::TruncateMessage>(change.message);
  TruncateOp truncate{.tables = {},
                      .restart_identity = message.restart_identity,
                      .stamp = header->stamp,
                      .end_lsn = header->end_lsn,
                      .header = header,
                      .number = change.number};
  for (const std::shared_ptr<const RemoteRelation>& relation : change.truncated) {
    ASSIGN_OR_RETURN(const Resolved resolved, resolve(relation, *header));
    if (resolved.table != nullptr) truncate.tables.push_back(resolved.table);
  }
  if (truncate.tables.empty()) return absl::OkStatus();
  segments_.back().truncate = std::move(truncate);
  segments_.emplace_back();
  table_places_.clear();
  row_places_.clear();
  return absl::OkStatus();
}

std::vector<uint32_t> GroupPlan::KeylessTables() const {
  std::vector<uint32_t> oids;
  for (const Segment& segment : segments_) {
    for (const TableOps& ops : segment.tables) {
      if (!ops.table->table().has_key && !ops.rows.empty()) oids.push_back(ops.table->table().oid);
    }
  }
  return oids;
}

std::vector<std::string> GroupPlan::Keys() const {
  std::vector<std::string> keys;
  for (const Segment& segment : segments_) {
    for (const TableOps& ops : segment.tables) {
      for (const RowOp& op : ops.rows) {
        if (!op.version_key.empty()) keys.push_back(op.version_key);
      }
    }
  }
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  return keys;
}

}  // namespace bdr::agent
