#include "node-agent/apply/write/fold_executor.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/test_hooks.h"
#include "conflict/version_store.h"
#include "node-agent/apply/write/lock_order.h"
#include "node-agent/apply/write/run_statement.h"
#include "node-agent/apply/write/target_writer.h"
#include "node-agent/tables/statements.h"
#include "postgres/connection.h"

namespace bdr::agent {
namespace {

using conflict::FoldChange;
using conflict::FoldRow;
using conflict::FoldValue;
using postgres::Result;

constexpr int kColumnsBeforeRow = kFoundColumns + 1;  // of BoundTable::FindWholeSql()

void FillUnchanged(FoldRow* row) {
  for (FoldValue& value : *row) {
    if (value.kind == FoldValue::Kind::kUnchanged) value.kind = FoldValue::Kind::kNull;
  }
}

std::string TimeJson(conflict::Stamp stamp) {
  if (stamp == conflict::kNever) return "null";
  return absl::StrCat("{\"node\": ", stamp.node, ", \"time_us\": ", stamp.time_us, "}");
}

}  // namespace

absl::Status FoldExecutor::Lock(const TableOps& ops) {
  Table& table = tables_.emplace_back();
  table.ops = &ops;
  table.attnums = AttnumsOf(ops.table->table());
  table.added = AddedColumns(ops.table->table());
  std::vector<const RowOp*> sorted;
  for (const RowOp& op : ops.rows) sorted.push_back(&op);
  SortByKey(&sorted);
  for (size_t from = 0; from < sorted.size(); from += kRowsPerStatement) {
    const std::vector<const RowOp*> rows(
        sorted.begin() + from, sorted.begin() + std::min(from + kRowsPerStatement, sorted.size()));
    std::vector<const LocalRow*> locals;
    for (const RowOp* op : rows) locals.push_back(&op->row);
    ASSIGN_OR_RETURN(const std::vector<std::string> params, KeyParams(*ops.table, locals));
    RETURN_IF_ERROR(Run(
        pipe_, FindWholeStatement(*ops.table), params,
        [this, &table, rows](const Result& result) {
          return found_rows_.Read(result, rows.size(), kFoundColumns,
                                  [&](size_t place, FoundRow found, int row) {
                                    table.found[rows[place]->version_key] =
                                        ReadWhole(*table.ops->table, std::move(found), result, row);
                                    return absl::OkStatus();
                                  });
        },
        /*binary_result=*/true));
  }
  return QueueProgress(ops.table->table());
}

FoldExecutor::Found FoldExecutor::ReadWhole(const BoundTable& table, FoundRow at,
                                            const Result& result, int row) {
  Found found;
  found.row.own = at.at.writer == conflict::Writer::kThisTransaction;
  found.row.local = at.at.writer != conflict::Writer::kNode;
  found.row.time_us = at.at.time_us;
  found.row.foreign_time = at.foreign_time;
  found.at = std::move(at);
  found.row.row.resize(table.table().columns.size());
  int column_at = kColumnsBeforeRow;
  for (const int column : table.fold_columns()) {
    if (!result.is_null(row, column_at)) {
      found.row.row[static_cast<size_t>(column)] = {
          .kind = FoldValue::Kind::kValue, .data = std::string(result.value(row, column_at))};
    }
    ++column_at;
  }
  return found;
}

// Behind the locks: whoever held one of them before has committed or not, and this tells.
absl::Status FoldExecutor::QueueProgress(const postgres::TableInfo& table) {
  return pipe_->Exec(
      absl::StrCat("SELECT p.origin_node, p.origin_incarnation, p.lsn,"
                   " pg_catalog.pg_current_wal_insert_lsn(), c.relnatts"
                   " FROM pg_catalog.pg_class c LEFT JOIN bdr.progress p ON true WHERE c.oid = ",
                   table.oid),
      [this, &table](const Result& result) { return ReadProgress(result, table); });
}

absl::Status FoldExecutor::ReadProgress(const Result& result, const postgres::TableInfo& table) {
  if (result.rows() == 0 || result.value(0, 4) != absl::StrCat(table.natts)) {
    // What users write to a column that the fold does not know would not be merged.
    return absl::FailedPreconditionError(
        absl::StrCat("table \"", table.DisplayName(), "\" has gained columns or was made anew"));
  }
  ASSIGN_OR_RETURN(local_now_, ParseLsn(result.value(0, 3)));
  for (int i = 0; i < result.rows(); ++i) {
    if (result.is_null(i, 0)) continue;  // nothing was ever applied here
    uint32_t node = 0;
    OriginId origin;
    if (!absl::SimpleAtoi(result.value(i, 0), &node) ||
        !absl::SimpleAtoi(result.value(i, 1), &origin.incarnation)) {
      return absl::InternalError("bdr.progress holds no origin where one belongs");
    }
    origin.node = static_cast<NodeId>(node);
    ASSIGN_OR_RETURN(applied_[origin], ParseLsn(result.value(i, 2)));
  }
  return absl::OkStatus();
}

bool FoldExecutor::IsApplied(const FoldChange& change) const {
  const auto applied = applied_.find(change.origin);
  return applied != applied_.end() && change.end_lsn <= applied->second;
}

absl::StatusOr<std::vector<FoldChange>> FoldExecutor::Truncates(const BoundTable& table) const {
  ASSIGN_OR_RETURN(conflict::KeyHistory history,
                   options_.history->Get(conflict::VersionKey(table.table().oid, ""), {}));
  std::vector<FoldChange> truncates;
  const Lsn captured = options_.log->End(options_.own).end_lsn;
  for (conflict::HistoryEntry& entry : history.entries) {
    const FoldChange& change = entry.change;
    const bool of_group = change.origin == options_.origin && change.end_lsn <= group_end_;
    if (entry.own ? change.end_lsn <= captured : of_group || IsApplied(change)) {
      truncates.push_back(std::move(entry.change));
    }
  }
  return truncates;
}

absl::Status FoldExecutor::Write(FoundBefore* must_wait) {
  rocksdb::WriteBatch batch;
  bool first_base = false;
  for (Table& table : tables_) {
    ASSIGN_OR_RETURN(table.truncates, Truncates(*table.ops->table));
    RETURN_IF_ERROR(WriteTable(table, &batch, &first_base, must_wait));
  }
  if (!must_wait->empty() || options_.rehearsal || batch.Count() == 0) return absl::OkStatus();
  return options_.database->Write(&batch, /*sync=*/first_base);
}

absl::Status FoldExecutor::WriteTable(Table& table, rocksdb::WriteBatch* batch, bool* first_base,
                                      FoundBefore* must_wait) {
  const BoundTable& bound = *table.ops->table;
  TargetRows targets;
  std::deque<FoldRow> rows;  // that `locals` point into
  std::deque<LocalRow> locals;
  for (const RowOp& op : table.ops->rows) {
    const auto found = table.found.find(op.version_key);
    ASSIGN_OR_RETURN(FoldResult result, FoldOne(table, op));
    if (result.must_wait) {
      (*must_wait)[op.version_key] = found == table.found.end()
                                         ? std::nullopt
                                         : std::optional<std::string>(found->second.at.xmin);
      continue;
    }
    if (result.base.has_value()) {
      options_.history->PutBase(batch, op.version_key, table.attnums, *result.base);
      *first_base = *first_base || result.first_base;
      for (const FoldChange& change : result.forget) {
        options_.history->DeleteEntry(batch, op.version_key, change);
      }
    }
    if (!result.target.has_value()) {
      if (found != table.found.end()) {
        targets.remove.push_back({.version_key = op.version_key, .row = &op.row});
      }
      continue;
    }
    const bool stands = found != table.found.end();
    if (stands && SameRow(*result.target, found->second.row.row)) continue;
    rows.push_back(*std::move(result.target));
    locals.push_back(ToColumnValues(rows.back(), bound.table()));
    (stands ? targets.update : targets.insert)
        .push_back({.version_key = op.version_key, .row = &locals.back()});
  }
  if (!must_wait->empty()) return absl::OkStatus();
  return TargetWriter(&bound, pipe_, options_.node_of_roident).Write(std::move(targets));
}

// Gathers what FoldKey() decides by: the key's history without what counts for nothing here yet
// (own changes that capture has just written, others that are not applied), the table's truncates,
// what stands in the row and whether that was waited for, and by which policy each change is
// merged.
absl::StatusOr<FoldResult> FoldExecutor::FoldOne(Table& table, const RowOp& op) {
  const BoundTable& bound = *table.ops->table;
  FoldQuery query;
  ASSIGN_OR_RETURN(query.history, options_.history->Get(op.version_key, table.attnums));
  const Lsn captured = options_.log->End(options_.own).end_lsn;
  query.is_new = [this](const FoldChange& change) {
    if (options_.merges_own || change.origin != options_.origin) return false;
    return !IsApplied(change) || change.end_lsn == options_.letter;
  };
  std::erase_if(query.history.entries, [&](const conflict::HistoryEntry& entry) {
    const FoldChange& change = entry.change;
    if (entry.own) return change.end_lsn > captured;
    return !IsApplied(change) && (change.origin != options_.origin || change.end_lsn > group_end_);
  });
  query.truncates = table.truncates;
  query.added = table.added;
  const auto found = table.found.find(op.version_key);
  const auto before = found_before_->find(op.version_key);
  query.asked = before != found_before_->end();
  if (found != table.found.end()) {
    query.found = found->second.row;
    query.waited = before != found_before_->end() && before->second == found->second.at.xmin;
  } else {
    query.waited = before != found_before_->end() && !before->second.has_value();
  }
  if (query.history.base.has_value() && query.history.base->read_at.valid()) {
    query.base_captured = options_.barrier->HasPassed(query.history.base->read_at);
  }
  query.local_now = local_now_;
  query.stable_us = options_.stable_us;
  query.local_policy = &bound.fold().PolicyAt(options_.settings->active());
  query.policy_of = [&bound](const FoldChange& change) -> const conflict::FoldPolicy& {
    return bound.fold().PolicyAt(change.settings_version);
  };
  const conflict::CustomHandler custom = [&](const conflict::FoldState& older,
                                             const FoldChange& change, const FoldRow& newer) {
    return CallHandler(bound, op.version_key, older, change, newer);
  };
  query.custom = &custom;
  return FoldKey(std::move(query));
}

// The user's function, in this session: both rows are sent as they are, it answers with the merged
// one or with what it raised, and in that case both are asked for once more as jsonb, for people to
// read. What it raises does not end the transaction: the change is left out then, here as
// everywhere.
absl::StatusOr<FoldRow> FoldExecutor::CallHandler(const BoundTable& table,
                                                  const std::string& version_key,
                                                  const conflict::FoldState& older,
                                                  const FoldChange& change, const FoldRow& newer) {
  FoldRow older_row = *older.row;
  FoldRow newer_row = newer;
  FillUnchanged(&older_row);
  FillUnchanged(&newer_row);
  const LocalRow older_values = ToColumnValues(older_row, table.table());
  const LocalRow newer_values = ToColumnValues(newer_row, table.table());
  std::string error;
  FoldRow merged = older_row;
  std::vector<std::string> params;
  for (const LocalRow* row : {&older_values, &newer_values}) {
    ASSIGN_OR_RETURN(std::string param, table.EncodeRows({&row, 1}));
    params.push_back(std::move(param));
  }
  if (!table.columns_beside().empty()) {
    error = "its rows cannot be given to a function: a column's type has no binary form";
  } else {
    params.push_back(absl::StrCat(
        "{\"table\": ", nlohmann::json(table.table().DisplayName()).dump(),
        ", \"older\": ", TimeJson(older.stamp), ", \"newer\": ", TimeJson(change.stamp),
        ", \"seen\": ", conflict::Saw(change, older.stamp) ? "true" : "false", "}"));
    std::vector<std::string> names;
    for (const int column : table.fold_columns()) {
      names.push_back(absl::StrCat("(m.merged).",
                                   postgres::QuoteIdentifier(table.table().columns[column].name)));
    }
    const std::string type = table.table().QualifiedName();
    const std::string function = table.fold().FunctionAt(change.settings_version);
    bool answered = false;
    RETURN_IF_ERROR(Run(
        pipe_,
        MakeStatement(
            table, OtherStatement::kMergeFunction,
            [&] {
              return absl::StrCat(
                  "SELECT m.error, ", absl::StrJoin(names, ", "), " FROM bdr.call_merge_function(",
                  postgres::QuoteLiteral(function), ", ($1::", type, "[])[1], ($2::", type,
                  "[])[1], $3::pg_catalog.text::pg_catalog.jsonb) AS m");
            },
            change.settings_version),
        params,
        [&](const Result& result) {
          answered = result.rows() == 1;
          if (!answered) return absl::OkStatus();
          if (!result.is_null(0, 0)) {
            error = std::string(result.value(0, 0));
            return absl::OkStatus();
          }
          int at = 1;
          for (const int column : table.fold_columns()) {
            FoldValue& value = merged[static_cast<size_t>(column)];
            value = {};
            if (!result.is_null(0, at)) {
              value = {.kind = FoldValue::Kind::kValue, .data = std::string(result.value(0, at))};
            }
            ++at;
          }
          return absl::OkStatus();
        },
        /*binary_result=*/true));
    RETURN_IF_ERROR(pipe_->Finish());
    if (!answered) return absl::InternalError("a function that merges rows gave no answer");
    // It is this key's row, whatever the function says.
    for (const int column : table.table().key) {
      merged[static_cast<size_t>(column)] = older_row[static_cast<size_t>(column)];
    }
  }
  if (error.empty()) return merged;
  RefusedChange& refused = refused_.emplace_back();
  refused = {.schema = table.table().schema,
             .table = table.table().name,
             .version_key = version_key,
             .change = change,
             .older = "null",
             .newer = "null",
             .error = error};
  if (!table.columns_beside().empty()) return older_row;
  params.resize(2);
  const std::string type = table.table().QualifiedName();
  RETURN_IF_ERROR(Run(pipe_,
                      MakeStatement(table, OtherStatement::kShowRows,
                                    [&] {
                                      return absl::StrCat(
                                          "SELECT bdr.row_as_jsonb(($1::", type,
                                          "[])[1])::pg_catalog.text, bdr.row_as_jsonb(($2::", type,
                                          "[])[1])::pg_catalog.text");
                                    }),
                      params, [&refused](const Result& result) {
                        refused.older = std::string(result.value(0, 0));
                        refused.newer = std::string(result.value(0, 1));
                        return absl::OkStatus();
                      }));
  RETURN_IF_ERROR(pipe_->Finish());
  return older_row;
}

absl::Status FoldExecutor::AddKnownKey(const std::string& version_key, TableOps* ops,
                                       std::deque<FoldRow>* kept) const {
  const postgres::TableInfo& table = ops->table->table();
  ASSIGN_OR_RETURN(conflict::KeyHistory history,
                   options_.history->Get(version_key, AttnumsOf(table)));
  // Any row of the key will do: only the key counts.
  const FoldRow* row = nullptr;
  if (history.base.has_value() && history.base->state.row.has_value()) {
    row = &*history.base->state.row;
  }
  for (const conflict::HistoryEntry& entry : history.entries) {
    if (entry.change.old_row.has_value()) row = &*entry.change.old_row;
    if (entry.change.new_row.has_value()) row = &*entry.change.new_row;
  }
  // The table's own record, or deletes alone: nothing can be left.
  if (row == nullptr) return absl::OkStatus();
  kept->push_back(*row);
  RowOp op;
  op.version_key = version_key;
  op.row = ToColumnValues(kept->back(), table);
  ops->rows.push_back(std::move(op));
  return absl::OkStatus();
}

absl::Status FoldExecutor::AddKnownKeys(TableOps* ops, std::deque<FoldRow>* kept) const {
  ASSIGN_OR_RETURN(const std::vector<std::string> keys,
                   options_.history->Keys("", ops->table->table().oid, SIZE_MAX));
  for (const std::string& key : keys) RETURN_IF_ERROR(AddKnownKey(key, ops, kept));
  return absl::OkStatus();
}

std::string FoldExecutor::FoundJson(const RowOp& op) const {
  for (const Table& table : tables_) {
    const auto found = table.found.find(op.version_key);
    if (found != table.found.end()) return found->second.at.json;
  }
  return "";
}

}  // namespace bdr::agent
