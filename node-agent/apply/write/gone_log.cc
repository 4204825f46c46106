#include "node-agent/apply/write/gone_log.h"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "conflict/conflict_kind.h"
#include "node-agent/apply/write/conflict_log.h"
#include "node-agent/tables/row_sql.h"
#include "node-agent/tables/statements.h"
#include "postgres/connection.h"

namespace bdr::agent {
namespace {

using postgres::ColumnKind;
using postgres::ColumnValue;

constexpr uint32_t kText = 25;
// What a jsonb may hold is bounded, and digits take twice the place.
constexpr size_t kMostBytesKept = 32 << 20;
// Arguments of one function call are bounded too.
constexpr size_t kPairsPerCall = 40;

// Types whose receive functions take whatever their send functions give, the same on every server:
// of those PostgreSQL makes the text. Sorted.
constexpr uint32_t kShownTypes[] = {16,   17,   18,   19,   20,   21,   23,   25,   26,   114,
                                    650,  700,  701,  774,  829,  869,  1000, 1001, 1005, 1007,
                                    1009, 1014, 1015, 1016, 1021, 1022, 1028, 1041, 1042, 1043,
                                    1082, 1083, 1114, 1115, 1182, 1184, 1185, 1186, 1187, 1231,
                                    1266, 1560, 1562, 1700, 199,  2950, 2951, 3220, 3802, 3807};

bool IsShown(uint32_t oid) {
  return std::find(std::begin(kShownTypes), std::end(kShownTypes), oid) != std::end(kShownTypes);
}

// The parts of one statement.
struct Parameters {
  std::vector<uint32_t> type_oids;
  std::vector<std::string> params;

  std::string Add(uint32_t type_oid, std::string value) {
    type_oids.push_back(type_oid);
    params.push_back(std::move(value));
    return absl::StrCat("$", params.size(), type_oid == kText ? "" : "::pg_catalog.text");
  }
};

std::string ValueSql(const postgres::RelationColumn& column, const ColumnValue& value,
                     size_t* bytes_left, Parameters* statement) {
  if (value.kind == ColumnKind::kNull) return "NULL";
  if (value.kind == ColumnKind::kUnchangedToast) {
    return statement->Add(kText, "(left alone by the change)");
  }
  if (value.data.size() > *bytes_left) {
    return statement->Add(kText, absl::StrCat("(", value.data.size(), " bytes, not kept)"));
  }
  *bytes_left -= value.data.size();
  if (value.kind == ColumnKind::kText) return statement->Add(kText, std::string(value.data));
  if (IsShown(column.type_oid)) return statement->Add(column.type_oid, std::string(value.data));
  return statement->Add(kText, absl::StrCat("\\x", absl::BytesToHexString(value.data)));
}

// An object of these columns of a tuple; NULL if there is none.
std::string ObjectSql(const postgres::RelationMessage& relation, const postgres::Tuple& tuple,
                      const std::vector<int>& columns, size_t* bytes_left, Parameters* statement) {
  std::vector<std::string> calls;
  std::vector<std::string> pairs;
  const auto close = [&] {
    if (pairs.empty()) return;
    calls.push_back(
        absl::StrCat("pg_catalog.jsonb_build_object(", absl::StrJoin(pairs, ", "), ")"));
    pairs.clear();
  };
  for (const int column : columns) {
    if (static_cast<size_t>(column) >= tuple.columns.size()) continue;
    const postgres::RelationColumn& described = relation.columns[column];
    pairs.push_back(
        absl::StrCat(postgres::QuoteLiteral(described.name), "::pg_catalog.text, ",
                     ValueSql(described, tuple.columns[column], bytes_left, statement)));
    if (pairs.size() == kPairsPerCall) close();
  }
  close();
  return calls.empty() ? "NULL::pg_catalog.jsonb" : absl::StrJoin(calls, " || ");
}

absl::Status QueueOne(const GroupPlan::NotWritten& left, const postgres::Tuple& key,
                      const postgres::Tuple* row, OriginId origin, Pipe* pipe) {
  const postgres::RelationMessage& relation = left.change->relation->message;
  Parameters statement;
  size_t bytes_left = kMostBytesKept;
  std::vector<int> key_columns;
  for (size_t i = 0; i < relation.columns.size(); ++i) {
    if (relation.columns[i].is_key) key_columns.push_back(static_cast<int>(i));
  }
  const std::string key_sql = ObjectSql(relation, key, key_columns, &bytes_left, &statement);
  const std::string row_sql =
      row == nullptr ? "NULL::pg_catalog.jsonb"
                     : ObjectSql(relation, *row, left.what->columns, &bytes_left, &statement);
  const auto kind = left.what->table ? conflict::ConflictKind::kTableMissing
                                     : conflict::ConflictKind::kColumnMissing;
  const std::string relation_sql = statement.Add(kText, left.what->relation);
  const std::string rule_sql = statement.Add(kText, left.what->said);
  const std::string stamp_sql = statement.Add(20, EncodeInt8(left.header->stamp.time_us));
  const std::string lsn_sql = statement.Add(kText, ToString(left.header->end_lsn));
  const std::string sql = InsertConflictSql(
      {.relation = relation_sql,
       .kind = Word(kind),
       .key = key_sql,
       .remote_row = row_sql,
       .remote_stamp = TimeOfMicros(absl::StrCat("(", stamp_sql, ")::pg_catalog.int8")),
       .remote_node = absl::StrCat(origin.node),
       .winner = Word(conflict::Winner::kLocal),
       .rule = rule_sql,  // Rule::kSaidToBeGone
       .remote_lsn = absl::StrCat("(", lsn_sql, ")::pg_catalog.pg_lsn"),
       .remote_incarnation = absl::StrCat(origin.incarnation)});
  const Statement prepared = MakeStatement(sql, statement.type_oids);
  return pipe->Run(prepared.name, prepared.sql, statement.type_oids, statement.params, nullptr);
}

// Something of the row is lost by leaving these columns out.
bool HasAny(const postgres::Tuple& row, const std::vector<int>& columns) {
  return std::any_of(columns.begin(), columns.end(), [&row](int column) {
    return static_cast<size_t>(column) < row.columns.size() &&
           row.columns[column].kind != ColumnKind::kUnchangedToast;
  });
}

}  // namespace

absl::Status QueueGone(const GroupPlan& plan, OriginId origin, Pipe* pipe, ConflictCounts* counts) {
  for (const GroupPlan::NotWritten& left : plan.not_written()) {
    const postgres::Tuple* key = nullptr;
    const postgres::Tuple* row = nullptr;
    if (const auto* insert = std::get_if<postgres::InsertMessage>(&left.change->message)) {
      key = row = &insert->row;
    } else if (const auto* update = std::get_if<postgres::UpdateMessage>(&left.change->message)) {
      key = row = &update->row;
    } else if (const auto* erase = std::get_if<postgres::DeleteMessage>(&left.change->message)) {
      key = &erase->old_row;
    }
    if (key == nullptr) continue;
    // A row that goes takes its values along, wherever it stands.
    if (!left.what->table && (row == nullptr || !HasAny(*row, left.what->columns))) continue;
    const auto kind = left.what->table ? conflict::ConflictKind::kTableMissing
                                       : conflict::ConflictKind::kColumnMissing;
    ++counts->by_kind[kind];
    ++counts->by_table[{left.what->relation, std::string(conflict::ToString(kind))}];
    RETURN_IF_ERROR(QueueOne(left, *key, row, origin, pipe));
  }
  return absl::OkStatus();
}

}  // namespace bdr::agent
