#include "node-agent/apply/write/target_writer.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/status_macros.h"
#include "node-agent/apply/session/left_out.h"
#include "node-agent/apply/write/lock_order.h"
#include "node-agent/apply/write/run_statement.h"
#include "node-agent/tables/statements.h"

namespace bdr::agent {
namespace {

using postgres::ColumnKind;
using postgres::Result;

// Rows that one statement can write: of the same shape. Each in the order of the keys.
std::map<std::vector<bool>, std::vector<KeyedRow>> ByShape(
    const BoundTable& table, std::vector<bool> (BoundTable::*shape)(const LocalRow&) const,
    std::vector<KeyedRow> rows) {
  SortByKey(&rows);
  std::map<std::vector<bool>, std::vector<KeyedRow>> shapes;
  for (KeyedRow& row : rows) shapes[(table.*shape)(*row.row)].push_back(std::move(row));
  return shapes;
}

std::vector<const LocalRow*> RowsOf(absl::Span<const KeyedRow> keyed) {
  std::vector<const LocalRow*> rows;
  rows.reserve(keyed.size());
  for (const KeyedRow& row : keyed) rows.push_back(row.row);
  return rows;
}

// What unchecked statements take and do not use: times, and until when each origin was seen.
std::vector<std::string> Unchecked(size_t rows) {
  return {EncodeTimestamptzArray(std::vector<int64_t>(rows, INT64_MIN)),
          EncodeTimestamptzArray({INT64_MIN})};
}

}  // namespace

absl::Status TargetWriter::Lock(std::vector<KeyedRow> keys, StandingRows* standing) {
  SortByKey(&keys);
  const BoundTable& table = *table_;
  for (size_t from = 0; from < keys.size(); from += kRowsPerStatement) {
    const std::vector<KeyedRow> rows(
        keys.begin() + from, keys.begin() + std::min(from + kRowsPerStatement, keys.size()));
    ASSIGN_OR_RETURN(const std::vector<std::string> params, KeyParams(table, RowsOf(rows)));
    std::vector<std::string> names;
    for (const KeyedRow& row : rows) names.push_back(row.version_key);
    RETURN_IF_ERROR(Run(pipe_, FindStatement(table, /*lock=*/true), params,
                        [this, standing, names](const Result& result) {
                          return found_rows_.Read(
                              result, names.size(), kFoundColumns,
                              [standing, &names](size_t place, FoundRow found, int) {
                                (*standing)[names[place]] = std::move(found);
                                return absl::OkStatus();
                              });
                        }));
  }
  return absl::OkStatus();
}

absl::Status TargetWriter::Write(TargetRows targets) {
  RETURN_IF_ERROR(Remove(std::move(targets.remove)));
  // Before the updates: what these rows hold may be what an updated one takes over.
  RETURN_IF_ERROR(Rewrite(std::move(targets.rewrite)));
  RETURN_IF_ERROR(Update(std::move(targets.update)));
  return Insert(std::move(targets.insert));
}

absl::Status TargetWriter::Remove(std::vector<KeyedRow> rows) {
  SortByKey(&rows);
  const BoundTable& table = *table_;
  for (size_t from = 0; from < rows.size(); from += kRowsPerStatement) {
    const auto part = absl::MakeConstSpan(rows).subspan(from, kRowsPerStatement);
    ASSIGN_OR_RETURN(const std::vector<std::string> params, KeyParams(table, RowsOf(part)));
    RETURN_IF_ERROR(Run(pipe_, DeleteStatement(table, /*checked=*/false), params,
                        AllWritten(table.table(), kDeletesRows, part.size())));
  }
  return absl::OkStatus();
}

absl::Status TargetWriter::Update(std::vector<KeyedRow> all_rows) {
  const BoundTable& table = *table_;
  for (auto& [shape, rows] : ByShape(table, &BoundTable::Settable, std::move(all_rows))) {
    const std::vector<bool>& set = shape;
    for (size_t from = 0; from < rows.size(); from += kRowsPerStatement) {
      const auto part = absl::MakeConstSpan(rows).subspan(from, kRowsPerStatement);
      ASSIGN_OR_RETURN(const std::vector<std::string> params,
                       RowParams(table, RowsOf(part), Unchecked(part.size())));
      if (table.has_identities()) {
        RETURN_IF_ERROR(Run(pipe_, ReplaceStatement(table, set, /*checked=*/false), params,
                            AllReplaced(table.table())));
      }
      RETURN_IF_ERROR(Run(pipe_, UpdateStatement(table, set, /*checked=*/false), params,
                          AllWritten(table.table(), kUpdatesRows, part.size())));
    }
  }
  return absl::OkStatus();
}

// All in one statement, since any of them may need what any other holds.
absl::Status TargetWriter::Rewrite(std::vector<KeyedRow> rows) {
  if (rows.empty()) return absl::OkStatus();
  SortByKey(&rows);
  const BoundTable& table = *table_;
  std::vector<bool> kept(table.table().columns.size(), false);
  for (const KeyedRow& row : rows) {
    for (size_t i = 0; i < kept.size(); ++i) {
      kept[i] = kept[i] || (*row.row)[i].kind == ColumnKind::kUnchangedToast;
    }
  }
  ASSIGN_OR_RETURN(std::vector<std::string> params, RowParams(table, RowsOf(rows), {}));
  for (size_t i = 0; i < kept.size(); ++i) {
    if (!kept[i]) continue;
    std::vector<int32_t> of_row;
    for (const KeyedRow& row : rows) {
      of_row.push_back((*row.row)[i].kind == ColumnKind::kUnchangedToast ? 1 : 0);
    }
    params.push_back(EncodeInt4Array(of_row));
  }
  return Run(pipe_, RewriteStatement(table, kept), params,
             AllWritten(table.table(), kDeletesRows | kInsertsRows, rows.size()));
}

absl::Status TargetWriter::Insert(std::vector<KeyedRow> all_rows) {
  const BoundTable& table = *table_;
  for (auto& [shape, rows] : ByShape(table, &BoundTable::Given, std::move(all_rows))) {
    const std::vector<bool>& given = shape;
    for (size_t from = 0; from < rows.size(); from += kRowsPerStatement) {
      const auto part = absl::MakeConstSpan(rows).subspan(from, kRowsPerStatement);
      ASSIGN_OR_RETURN(const std::vector<std::string> params, RowParams(table, RowsOf(part), {}));
      RETURN_IF_ERROR(Run(pipe_, PlainInsertStatement(table, given), params,
                          AllWritten(table.table(), kInsertsRows, part.size())));
    }
  }
  return absl::OkStatus();
}

}  // namespace bdr::agent
