#include "node-agent/apply/write/target_writer.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "node-agent/apply/plan/seen.h"
#include "node-agent/apply/session/left_out.h"
#include "node-agent/tables/statements.h"

namespace bdr::agent {
namespace {

using conflict::Version;
using postgres::ColumnKind;
using postgres::Result;

void SortByKey(std::vector<KeyedRow>* rows) {
  std::sort(rows->begin(), rows->end(),
            [](const KeyedRow& a, const KeyedRow& b) { return a.version_key < b.version_key; });
}

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

StandingVersion VersionOf(const StandingRow& row, const VersionQuery& query) {
  const auto by_time = [&row](NodeId node) {
    StandingVersion found;
    found.stamp = {.time_us = *row.time_us, .node = node};
    found.version = Version{.stamp = found.stamp,
                            .origin = {.node = node, .incarnation = 0},
                            .end_lsn = Lsn{0},
                            .dead = false};
    found.by_time = true;
    return found;
  };
  const auto from_store = [&query] {
    StandingVersion found;
    if (!query.known.has_value()) return found;
    found.stamp = query.known->stamp;
    found.version = query.known;
    return found;
  };
  StandingVersion unknown;
  unknown.unknown = true;
  const auto remote = query.node_of_roident->find(row.roident);
  if (remote != query.node_of_roident->end()) {
    // Of an applied row the commit time is its stamp or a little above, never below. A later
    // version that is known belongs to a transaction that is still to be applied.
    const bool pending = query.known.has_value() && row.time_us.has_value() &&
                         query.known->stamp.time_us > *row.time_us;
    return pending || query.known_is_pending ? unknown : from_store();
  }
  const std::optional<int64_t> time_us =
      HasForeignTime(row.roident, *query.node_of_roident) ? std::nullopt : row.time_us;
  const bool captured = query.xmin_before.has_value() && *query.xmin_before == row.xmin;
  const bool known = query.known.has_value() && query.known->stamp.node == query.own_node &&
                     time_us.has_value() && query.known->stamp.time_us >= *time_us;
  if (captured && query.known_is_pending) return unknown;
  if (captured || known) return from_store();
  const bool surely_older =
      time_us.has_value() && *time_us + query.largest_raise_us < query.enough_if_older_than.time_us;
  if (surely_older) return by_time(query.own_node);
  StandingVersion found;
  found.must_wait = true;
  return found;
}

absl::Status TargetWriter::Lock(std::vector<KeyedRow> keys, StandingRows* standing) {
  SortByKey(&keys);
  const BoundTable& table = *table_;
  for (size_t from = 0; from < keys.size(); from += kRowsPerStatement) {
    const std::vector<KeyedRow> rows(
        keys.begin() + from, keys.begin() + std::min(from + kRowsPerStatement, keys.size()));
    ASSIGN_OR_RETURN(const std::vector<std::string> params, KeyParams(table, RowsOf(rows)));
    std::vector<std::string> names;
    for (const KeyedRow& row : rows) names.push_back(row.version_key);
    RETURN_IF_ERROR(pipe_->Run(
        StatementName(table, "l"), [&] { return table.FindSql(/*lock=*/true, /*with_rows=*/true); },
        kInferred, params,
        [standing, names](const Result& result) -> absl::Status {
          for (int i = 0; i < result.rows(); ++i) {
            size_t place = 0;
            if (!absl::SimpleAtoi(result.value(i, 0), &place) || place == 0 ||
                place > names.size()) {
              return absl::InternalError("a statement returned a place that it was not given");
            }
            StandingRow row;
            row.own = result.value(i, 1) == "t";
            row.xmin = std::string(result.value(i, 2));
            int64_t time_us = 0;
            if (!result.is_null(i, 3) && absl::SimpleAtoi(result.value(i, 3), &time_us)) {
              row.time_us = time_us;
            }
            if (!result.is_null(i, 4)) (void)absl::SimpleAtoi(result.value(i, 4), &row.roident);
            row.json = std::string(result.value(i, 5));
            (*standing)[names[place - 1]] = std::move(row);
          }
          return absl::OkStatus();
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
    RETURN_IF_ERROR(pipe_->Run(
        StatementName(table, "D"), [&] { return table.DeleteSql(/*checked=*/false); }, kInferred,
        params, AllWritten(table.table(), kDeletesRows, part.size())));
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
        RETURN_IF_ERROR(pipe_->Run(
            StatementName(table, "R", set),
            [&] { return table.ReplaceSql(set, /*checked=*/false); }, kInferred, params,
            AllReplaced(table.table())));
      }
      RETURN_IF_ERROR(pipe_->Run(
          StatementName(table, "U", set), [&] { return table.UpdateSql(set, /*checked=*/false); },
          kInferred, params, AllWritten(table.table(), kUpdatesRows, part.size())));
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
  return pipe_->Run(
      StatementName(table, "W", kept), [&] { return table.RewriteSql(kept); }, kInferred, params,
      AllWritten(table.table(), kDeletesRows | kInsertsRows, rows.size()));
}

absl::Status TargetWriter::Insert(std::vector<KeyedRow> all_rows) {
  const BoundTable& table = *table_;
  for (auto& [shape, rows] : ByShape(table, &BoundTable::Given, std::move(all_rows))) {
    const std::vector<bool>& given = shape;
    for (size_t from = 0; from < rows.size(); from += kRowsPerStatement) {
      const auto part = absl::MakeConstSpan(rows).subspan(from, kRowsPerStatement);
      ASSIGN_OR_RETURN(const std::vector<std::string> params, RowParams(table, RowsOf(part), {}));
      RETURN_IF_ERROR(pipe_->Run(
          StatementName(table, "p", given), [&] { return table.PlainInsertSql(given); }, kInferred,
          params, AllWritten(table.table(), kInsertsRows, part.size())));
    }
  }
  return absl::OkStatus();
}

}  // namespace bdr::agent
