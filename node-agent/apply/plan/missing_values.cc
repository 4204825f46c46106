#include "node-agent/apply/plan/missing_values.h"

#include <rocksdb/write_batch.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "node-agent/apply/plan/seen.h"

namespace bdr::agent {
namespace {

using conflict::Version;
using postgres::ColumnKind;

constexpr size_t kRowsPerRequest = 100;
// More than this is kept only if it belongs to one transaction.
constexpr size_t kMostBytes = 64 << 20;
// So often everybody must have said no: a row that is being written is there a moment later.
constexpr int kDenials = 10;

}  // namespace

bool HasUnchanged(const LocalRow& row) {
  return std::any_of(row.begin(), row.end(), [](const postgres::ColumnValue& value) {
    return value.kind == ColumnKind::kUnchangedToast;
  });
}

void MissingValues::BeginAttempt() {
  wanted_.clear();
  named_.clear();
}

absl::Status MissingValues::Prepare(GroupPlan& plan, const Versions& before) {
  disputed_.clear();
  std::vector<std::string> keys;
  for (Segment& segment : plan.segments()) {
    for (TableOps& ops : segment.tables) {
      for (RowOp& op : ops.rows) {
        if (op.version_key.empty() || op.is_delete()) continue;
        for (const RowOp::Filled& filled : op.filled) {
          const auto between = before.find(filled.version_key);
          if (between != before.end() && between->second.stamp > filled.stamp) {
            op.row[filled.column] = {.kind = ColumnKind::kUnchangedToast, .data = {}};
          }
        }
        if (!HasUnchanged(op.row)) continue;
        const auto got = got_.find({op.version_key, op.stamp});
        if (got != got_.end()) Fill(&op, got->second);
        if (!HasUnchanged(op.row)) continue;
        // Only an update leaves values out: a row stood there.
        if (!op.moved_from.has_value() || op.keeps_found) op.by_insert = false;
        keys.push_back(op.version_key);
        if (op.moved_from.has_value()) keys.push_back(op.moved_from_key);
      }
    }
  }
  ASSIGN_OR_RETURN(const std::vector<std::optional<Version>> disputed,
                   versions_->GetDisputed(keys));
  for (size_t i = 0; i < keys.size(); ++i) {
    if (disputed[i].has_value()) disputed_[keys[i]] = disputed[i]->stamp;
  }
  return absl::OkStatus();
}

void MissingValues::Fill(RowOp* op, const Got& got) {
  if (got.state != RowAnswer::State::kFound) {
    op->keeps_found = true;
    op->values_lost = got.state == RowAnswer::State::kUnknown;
    return;
  }
  for (size_t i = 0; i < got.columns.size(); ++i) {
    postgres::ColumnValue& value = op->row[got.columns[i]];
    if (value.kind != ColumnKind::kUnchangedToast) continue;
    value = {.kind = got.values[i].kind, .data = got.values[i].data};
  }
}

bool MissingValues::IsDisputed(const RowOp& op, OriginId origin) const {
  const auto later_than_seen = [&](const std::string& key) {
    const auto found = disputed_.find(key);
    return found != disputed_.end() &&
           found->second.time_us > SeenUntilTime(*op.first_header, origin.node, found->second.node);
  };
  return later_than_seen(op.version_key) ||
         (op.moved_from.has_value() && later_than_seen(op.moved_from_key));
}

void MissingValues::Want(const std::shared_ptr<const BoundTable>& table, const RowOp& op) {
  // A transaction's later changes of a row find what the first of them has written.
  if (!named_.emplace(op.version_key, op.stamp).second) return;
  Wanted wanted{
      .table = table, .version_key = op.version_key, .stamp = op.stamp, .key = {}, .columns = {}};
  for (const int column : table->table().key) {
    wanted.key.push_back({.kind = op.row[column].kind, .data = std::string(op.row[column].data)});
  }
  for (size_t i = 0; i < op.row.size(); ++i) {
    if (op.row[i].kind == ColumnKind::kUnchangedToast) {
      wanted.columns.push_back(static_cast<int>(i));
    }
  }
  wanted_.push_back(std::move(wanted));
}

absl::Status MissingValues::FetchWanted(const Fetch& fetch, bool may_be_split) {
  while (!wanted_.empty()) {
    if (fetch.stop()) return absl::UnavailableError("the applier was told to stop");
    if (bytes_ > kMostBytes && may_be_split) {
      return absl::AbortedError("the large values of a group are too many for one group");
    }
    const size_t before = wanted_.size();
    const Wanted& first = wanted_.front();
    const std::string table = first.table->table().DisplayName();
    Round round;
    std::vector<NodeId> others;
    for (const NodeId node : source_->Members()) {
      if (node == fetch.own_node) continue;
      if (node == fetch.origin.node) {
        round.origin_member = true;
      } else {
        others.push_back(node);
      }
    }
    if (round.origin_member) {
      RETURN_IF_ERROR(Ask(fetch.origin.node, /*exact_only=*/false, fetch, &round));
    }
    // They may be asked though the origin was reached: it could not tell, perhaps.
    for (size_t i = 0; i < others.size() && wanted_.size() == before; ++i) {
      RETURN_IF_ERROR(Ask(others[i], /*exact_only=*/true, fetch, &round));
    }
    if (wanted_.size() < before) continue;
    if (round.unreachable.empty() && ++wanted_.front().denied >= kDenials) {
      got_[{wanted_.front().version_key, wanted_.front().stamp}] = {};
      wanted_.erase(wanted_.begin());
      continue;
    }
    ++waits_;
    fetch.wait(absl::StrCat("for large values of table \"", table, "\" from node \"",
                            source_->NameOf(fetch.origin.node), "\"",
                            round.unreachable.empty() ? "" : ": ", round.unreachable));
  }
  return absl::OkStatus();
}

// Asks a node for the first of what is wanted and all that can be asked together with it.
absl::Status MissingValues::Ask(NodeId node, bool exact_only, const Fetch& fetch, Round* round) {
  const Wanted& first = wanted_.front();
  std::vector<Wanted*> rows;
  for (Wanted& wanted : wanted_) {
    if (rows.size() == kRowsPerRequest) break;
    if (wanted.table == first.table && wanted.columns == first.columns) rows.push_back(&wanted);
  }
  absl::StatusOr<std::vector<RowAnswer>> answers =
      source_->Fetch(node, MakeRequest(rows, exact_only), fetch.stop);
  if (!answers.ok()) {
    if (fetch.stop()) return absl::UnavailableError("the applier was told to stop");
    // Without the table it cannot have the row.
    if (!absl::IsNotFound(answers.status()) && round->unreachable.empty()) {
      round->unreachable = std::string(answers.status().message());
    }
    return absl::OkStatus();
  }
  rocksdb::WriteBatch disputed;
  std::vector<const Wanted*> done;
  for (size_t i = 0; i < answers->size() && i < rows.size(); ++i) {
    if ((*answers)[i].state == RowAnswer::State::kUnknown) continue;
    RETURN_IF_ERROR(ConvertAnswer(*rows[i], &(*answers)[i]));
    RETURN_IF_ERROR(Take(*rows[i], std::move((*answers)[i]), &disputed));
    done.push_back(rows[i]);
  }
  // Before anything is written that leans on it: no log could give it back after a crash.
  if (disputed.Count() > 0) RETURN_IF_ERROR(database_->Write(&disputed, /*sync=*/true));
  fetched_ += done.size();
  std::vector<Wanted> left;
  for (Wanted& wanted : wanted_) {
    if (std::find(done.begin(), done.end(), &wanted) == done.end()) {
      left.push_back(std::move(wanted));
    }
  }
  wanted_ = std::move(left);
  return absl::OkStatus();
}

// Who answers may have another type there than is here.
absl::Status MissingValues::ConvertAnswer(const Wanted& wanted, RowAnswer* answer) {
  if (answer->types.size() != wanted.columns.size()) return absl::OkStatus();
  const postgres::TableInfo& table = wanted.table->table();
  postgres::RelationMessage relation;
  TypeNames types;
  for (size_t i = 0; i < wanted.columns.size(); ++i) {
    AddColumn(table.columns[wanted.columns[i]].name, answer->types[i], &relation, &types);
  }
  for (const int column : table.key) AddColumn(table.columns[column].name, {}, &relation, &types);
  ASSIGN_OR_RETURN(const ColumnMap map,
                   ColumnMap::Make(relation, wanted.table->columns().shared_table(),
                                   /*every_column=*/true, types));
  for (size_t i = 0; i < answer->values.size() && i < wanted.columns.size(); ++i) {
    OwnedValue& value = answer->values[i];
    std::string kept;
    ASSIGN_OR_RETURN(const postgres::ColumnValue converted,
                     map.Convert(i, {.kind = value.kind, .data = value.data}, &kept));
    value.kind = converted.kind;
    if (converted.data.data() == kept.data()) value.data = std::move(kept);
  }
  return absl::OkStatus();
}

absl::Status MissingValues::Take(const Wanted& wanted, RowAnswer answer,
                                 rocksdb::WriteBatch* disputed) {
  if (answer.version.stamp > wanted.stamp) {
    versions_->PutDisputed(disputed, wanted.version_key, answer.version);
  }
  for (const OwnedValue& value : answer.values) bytes_ += value.data.size();
  Got& got = got_[{wanted.version_key, wanted.stamp}];
  if (got.state != answer.state) got = {.state = answer.state, .columns = {}, .values = {}};
  // Beside what came for an earlier change of the same row.
  got.columns.insert(got.columns.end(), wanted.columns.begin(), wanted.columns.end());
  got.values.insert(got.values.end(), std::make_move_iterator(answer.values.begin()),
                    std::make_move_iterator(answer.values.end()));
  return absl::OkStatus();
}

RowsWanted MissingValues::MakeRequest(const std::vector<Wanted*>& rows, bool exact_only) const {
  const Wanted& first = *rows.front();
  const postgres::TableInfo& table = first.table->table();
  RowsWanted request{.schema = table.schema,
                     .table = table.name,
                     .key_columns = {},
                     .key_types = {},
                     .columns = {},
                     .rows = {},
                     .exact_only = exact_only};
  for (const int column : table.key) {
    request.key_columns.push_back(table.columns[column].name);
    request.key_types.push_back(ColumnTypeOf(table.columns[column]));
  }
  for (const int column : first.columns) request.columns.push_back(table.columns[column].name);
  for (const Wanted* wanted : rows) {
    request.rows.push_back({.key = wanted->key, .stamp = wanted->stamp});
  }
  return request;
}

void MissingValues::Clear() {
  BeginAttempt();
  got_.clear();
  disputed_.clear();
  bytes_ = 0;
}

}  // namespace bdr::agent
