#include "node-agent/apply/write/refused_changes.h"

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "node-agent/apply/write/conflict_log.h"
#include "postgres/connection.h"

namespace bdr::agent {

using postgres::QuoteLiteral;
using postgres::Result;

// The line in the conflict log tells whether it was told before: a letter may have been dropped.
absl::Status QueueRefused(const RefusedChange& refused, Pipe* pipe,
                          std::deque<DeadLetter>* letters) {
  const conflict::FoldChange& change = refused.change;
  const std::string display = absl::StrCat(refused.schema, ".", refused.table);
  const std::string table = QuoteLiteral(display);
  const std::string lsn = absl::StrCat("'", ToString(change.end_lsn), "'");
  const std::string kind = Word(conflict::ConflictKind::kMergeFunctionFailed);
  const std::string newer = absl::StrCat(QuoteLiteral(refused.newer), "::pg_catalog.jsonb");
  const std::string contents = nlohmann::json{{display, {{"refused", 1}}}}.dump(
      -1, ' ', false, nlohmann::json::error_handler_t::replace);
  return pipe->Exec(
      absl::StrCat(
          "WITH logged AS (",
          InsertConflictSql(
              {.relation = table,
               .kind = kind,
               .local_row = absl::StrCat(QuoteLiteral(refused.older), "::pg_catalog.jsonb"),
               .remote_row = newer,
               .remote_stamp = TimeOfMicros(absl::StrCat(change.stamp.time_us)),
               .remote_node = absl::StrCat(change.origin.node),
               .winner = Word(conflict::Winner::kLocal),
               .rule = QuoteLiteral(refused.error),  // Rule::kFunctionRaised
               .remote_lsn = lsn,
               .remote_incarnation = absl::StrCat(change.origin.incarnation)}),
          " WHERE NOT EXISTS (SELECT FROM bdr.conflict_log WHERE relation = ", table,
          " AND kind = ", kind, " AND remote_lsn = ", lsn,
          " AND remote_node = ", change.origin.node, " AND remote_row = ", newer,
          ") RETURNING remote_stamp) "
          "INSERT INTO bdr.dead_letter (origin_node, origin_incarnation, end_lsn, stamp, cause,"
          " contents, changes, schema_name, table_name, version_key) SELECT ",
          change.origin.node, ", ", change.origin.incarnation, ", ", lsn, ", remote_stamp, ",
          QuoteLiteral(refused.error), ", ", QuoteLiteral(contents), ", 1, ",
          QuoteLiteral(refused.schema), ", ", QuoteLiteral(refused.table), ", '\\x",
          absl::BytesToHexString(refused.version_key),
          "' FROM logged ON CONFLICT DO NOTHING RETURNING id"),
      [letters, letter = DeadLetter{.id = 0,
                                    .origin = change.origin,
                                    .end_lsn = change.end_lsn,
                                    .stamp_us = change.stamp.time_us,
                                    .refused = true}](const Result& result) mutable {
        if (result.rows() == 0) return absl::OkStatus();
        if (!absl::SimpleAtoi(result.value(0, 0), &letter.id)) {
          return absl::InternalError("a dead letter's id is no number");
        }
        letters->push_back(letter);
        return absl::OkStatus();
      });
}

absl::Status QueueReadRefused(int64_t letter, Pipe* pipe, RefusedRow* row) {
  return pipe->Exec(
      absl::StrCat("SELECT schema_name, table_name, pg_catalog.encode(version_key, 'hex') "
                   "FROM bdr.dead_letter WHERE id = ",
                   letter, " FOR UPDATE"),
      [letter, row](const Result& result) {
        if (result.rows() != 1) {
          return absl::NotFoundError(absl::StrCat("there is no dead letter ", letter, " any more"));
        }
        *row = {.schema = std::string(result.value(0, 0)),
                .table = std::string(result.value(0, 1)),
                .version_key = absl::HexStringToBytes(result.value(0, 2))};
        return absl::OkStatus();
      });
}

RemoteRelation RelationOf(const postgres::TableInfo& table) {
  RemoteRelation relation;
  relation.message.relation_oid = table.oid;
  relation.message.schema = table.schema;
  relation.message.name = table.name;
  relation.message.replica_identity = 'f';
  for (const postgres::ColumnInfo& column : table.columns) {
    if (column.generated) continue;
    relation.message.columns.push_back({.is_key = true,
                                        .name = column.name,
                                        .type_oid = column.type->oid,
                                        .type_modifier = column.type_modifier});
  }
  return relation;
}

}  // namespace bdr::agent
