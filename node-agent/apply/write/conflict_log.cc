#include "node-agent/apply/write/conflict_log.h"

#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "node-agent/apply/write/run_statement.h"
#include "node-agent/tables/statements.h"
#include "postgres/connection.h"

namespace bdr::agent {
namespace {

constexpr size_t kConflictsPerStatement = 200;

// One array for each column of the lines that is no row: as SQL calls it, and its type. In the
// order of the parameters behind those of the key.
constexpr std::pair<const char*, const char*> kLists[] = {
    {"kind", "text"},      {"local_row", "text"}, {"local_us", "int8"},   {"local_node", "int4"},
    {"remote_us", "int8"}, {"winner", "text"},    {"rule", "text"},       {"seen_us", "int8"},
    {"local_lsn", "text"}, {"local_inc", "int8"}, {"remote_lsn", "text"}, {"absent", "text"}};

}  // namespace

std::string TimeOfMicros(absl::string_view us) {
  return absl::StrCat("'epoch'::pg_catalog.timestamptz + ", us,
                      " * '1 microsecond'::pg_catalog.interval");
}

std::string InsertConflictSql(const ConflictLine& line) {
  const std::pair<absl::string_view, const std::string*> columns[] = {
      {"relation", &line.relation},
      {"kind", &line.kind},
      {"key", &line.key},
      {"local_row", &line.local_row},
      {"remote_row", &line.remote_row},
      {"local_stamp", &line.local_stamp},
      {"local_node", &line.local_node},
      {"remote_stamp", &line.remote_stamp},
      {"remote_node", &line.remote_node},
      {"winner", &line.winner},
      {"rule", &line.rule},
      {"remote_seen", &line.remote_seen},
      {"local_lsn", &line.local_lsn},
      {"local_incarnation", &line.local_incarnation},
      {"remote_lsn", &line.remote_lsn},
      {"remote_incarnation", &line.remote_incarnation},
      {"remote_absent", &line.remote_absent},
      {"constraint_name", &line.constraint_name}};
  std::vector<absl::string_view> names;
  std::vector<absl::string_view> values;
  for (const auto& [name, value] : columns) {
    if (value->empty()) continue;
    names.push_back(name);
    values.push_back(*value);
  }
  return absl::StrCat("INSERT INTO bdr.conflict_log (", absl::StrJoin(names, ", "), ") SELECT ",
                      absl::StrJoin(values, ", "));
}

std::string RowConflictsSql(const BoundTable& table) {
  RowSources sources = table.KeySources();
  const std::string key = sources.json;
  size_t next = table.key_columns() + 1;
  for (const auto& [name, type] : kLists) {
    sources.arrays.push_back(
        absl::StrCat("pg_catalog.unnest($", next++, "::pg_catalog.", type, "[])"));
    sources.names.push_back(name);
  }
  const size_t rows = next++;
  const std::string remote_node = absl::StrCat("$", next++, "::pg_catalog.int4");
  const std::string remote_incarnation = absl::StrCat("$", next++, "::pg_catalog.int8");
  table.AddRowSources(rows, next, &sources);
  sources.names.push_back("n");
  const std::string line =
      InsertConflictSql({.relation = postgres::QuoteLiteral(table.table().DisplayName()),
                         .kind = "r.kind",
                         .key = key,
                         .local_row = "NULLIF(r.local_row, '')::pg_catalog.jsonb",
                         .remote_row = sources.json,
                         .local_stamp = absl::StrCat("CASE WHEN r.local_us <> 0 THEN ",
                                                     TimeOfMicros("r.local_us"), " END"),
                         .local_node = "NULLIF(r.local_node, 0)",
                         .remote_stamp = TimeOfMicros("r.remote_us"),
                         .remote_node = remote_node,
                         .winner = "r.winner",
                         .rule = "NULLIF(r.rule, '')",
                         .remote_seen = absl::StrCat("CASE WHEN r.seen_us = ", INT64_MAX,
                                                     " THEN 'infinity'::pg_catalog.timestamptz"
                                                     " WHEN r.seen_us <> 0 THEN ",
                                                     TimeOfMicros("r.seen_us"), " END"),
                         .local_lsn = "NULLIF(r.local_lsn, '')::pg_catalog.pg_lsn",
                         .local_incarnation = "NULLIF(r.local_inc, 0)",
                         .remote_lsn = "NULLIF(r.remote_lsn, '')::pg_catalog.pg_lsn",
                         .remote_incarnation = remote_incarnation,
                         .remote_absent = "NULLIF(r.absent, '')::pg_catalog.text[]"});
  return absl::StrCat(line, " FROM ROWS FROM (", absl::StrJoin(sources.arrays, ", "),
                      ") WITH ORDINALITY AS r(", absl::StrJoin(sources.names, ", "), ")");
}

// In the order of RowConflictsSql(): the key's columns, kLists, the rows, whose they are, and the
// columns beside them.
absl::StatusOr<std::vector<std::string>> RowConflictsParams(
    const BoundTable& table, OriginId origin, absl::Span<const RowConflict> conflicts) {
  std::vector<const LocalRow*> keys;
  std::vector<const LocalRow*> rows;
  std::vector<std::string> kinds;
  std::vector<std::string> local_rows;
  std::vector<int64_t> local_us;
  std::vector<int32_t> local_nodes;
  std::vector<int64_t> remote_us;
  std::vector<std::string> winners;
  std::vector<std::string> rules;
  std::vector<int64_t> seen_us;
  std::vector<std::string> local_lsns;
  std::vector<int64_t> local_incarnations;
  std::vector<std::string> remote_lsns;
  std::vector<std::string> absent;
  for (const RowConflict& conflict : conflicts) {
    const std::optional<conflict::Version>& local = conflict.local;
    const bool known = local.has_value();
    keys.push_back(conflict.key);
    // A row that would refuse nulls cannot be shown at all.
    const bool shown = conflict.row != nullptr && !table.RefusesNulls(*conflict.row);
    rows.push_back(shown ? conflict.row : nullptr);
    kinds.emplace_back(ToString(conflict.kind));
    local_rows.push_back(conflict.local_row);
    local_us.push_back(known ? local->stamp.time_us : 0);
    local_nodes.push_back(known ? local->stamp.node : 0);
    remote_us.push_back(conflict.stamp_us);
    winners.emplace_back(ToString(conflict.winner));
    rules.emplace_back(ToString(conflict.rule));
    seen_us.push_back(known ? conflict.seen_us : 0);
    local_lsns.push_back(known && local->end_lsn.valid() ? ToString(local->end_lsn) : "");
    local_incarnations.push_back(known ? local->origin.incarnation : 0);
    remote_lsns.push_back(ToString(conflict.end_lsn));
    absent.push_back(conflict.row == nullptr ? "" : table.AbsentColumns(*conflict.row));
  }
  ASSIGN_OR_RETURN(std::vector<std::string> params, KeyParams(table, keys));
  params.push_back(EncodeTextArray(kinds));
  params.push_back(EncodeTextArray(local_rows));
  params.push_back(EncodeInt8Array(local_us));
  params.push_back(EncodeInt4Array(local_nodes));
  params.push_back(EncodeInt8Array(remote_us));
  params.push_back(EncodeTextArray(winners));
  params.push_back(EncodeTextArray(rules));
  params.push_back(EncodeInt8Array(seen_us));
  params.push_back(EncodeTextArray(local_lsns));
  params.push_back(EncodeInt8Array(local_incarnations));
  params.push_back(EncodeTextArray(remote_lsns));
  params.push_back(EncodeTextArray(absent));
  ASSIGN_OR_RETURN(
      std::vector<std::string> row_params,
      RowParams(table, rows, {EncodeInt4(origin.node), EncodeInt8(origin.incarnation)}));
  params.insert(params.end(), std::make_move_iterator(row_params.begin()),
                std::make_move_iterator(row_params.end()));
  return params;
}

absl::Status ConflictLog::Add(const BoundTable& table, absl::Span<const RowConflict> conflicts) {
  for (size_t from = 0; from < conflicts.size(); from += kConflictsPerStatement) {
    RETURN_IF_ERROR(AddSome(table, conflicts.subspan(from, kConflictsPerStatement)));
  }
  return absl::OkStatus();
}

absl::Status ConflictLog::AddSome(const BoundTable& table,
                                  absl::Span<const RowConflict> conflicts) {
  ASSIGN_OR_RETURN(const std::vector<std::string> params,
                   RowConflictsParams(table, origin_, conflicts));
  return Run(pipe_,
             MakeStatement(table, OtherStatement::kLogConflicts,
                           [&table] { return RowConflictsSql(table); }),
             params, nullptr);
}

absl::Status ConflictLog::AddTruncate(const BoundTable& table, conflict::Stamp stamp, Lsn end_lsn,
                                      int64_t removed, int64_t kept) {
  return pipe_->Exec(InsertConflictSql(
      {.relation = postgres::QuoteLiteral(table.table().DisplayName()),
       .kind = Word(conflict::ConflictKind::kTruncateOriginDiffers),
       .local_row = absl::StrCat("pg_catalog.jsonb_build_object('rows_removed', ", removed,
                                 ", 'rows_kept', ", kept, ")"),
       .remote_stamp = TimeOfMicros(absl::StrCat(stamp.time_us)),
       .remote_node = absl::StrCat(stamp.node),
       .winner = Word(removed > 0 ? conflict::Winner::kRemote : conflict::Winner::kLocal),
       .rule = Word(conflict::Rule::kOlderThanTruncate),
       .remote_lsn = absl::StrCat("'", ToString(end_lsn), "'"),
       .remote_incarnation = absl::StrCat(origin_.incarnation)}));
}

}  // namespace bdr::agent
