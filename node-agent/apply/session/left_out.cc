#include "node-agent/apply/session/left_out.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"

namespace bdr::agent {
namespace {

using postgres::Result;

// What ExplainLeftOut() must know of the statement: "oid kinds schema.name".
constexpr char kPayload[] = "bdr/left_out";

// Of the table and its partitions, since a trigger of a partition sees the rows that go there, and
// an update that moves a row between them deletes and inserts it. What fires under the replica
// role is enabled ALWAYS or for REPLICA.
std::string CausesSql(uint32_t table, uint32_t kinds) {
  return absl::StrCat(
      "WITH l(oid) AS (SELECT ", table,
      "::pg_catalog.oid UNION SELECT relid::pg_catalog.oid FROM "
      "pg_catalog.pg_partition_tree(",
      table,
      ")), k(kinds) AS (SELECT CASE WHEN (SELECT "
      "pg_catalog.count(*) FROM l) > 1 AND ",
      kinds, " & 16 <> 0 THEN 28 ELSE ", kinds,
      " END) SELECT pg_catalog.format('trigger \"%s\" (%s, function %s)', g.tgname, CASE "
      "g.tgenabled WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END, "
      "g.tgfoid::pg_catalog.regprocedure) FROM pg_catalog.pg_trigger g JOIN l ON l.oid = g.tgrelid "
      "CROSS JOIN k WHERE g.tgenabled IN ('A', 'R') AND NOT g.tgisinternal AND g.tgtype & 3 = 3 "
      "AND g.tgtype & k.kinds <> 0 GROUP BY 1 UNION ALL SELECT pg_catalog.format('rule \"%s\" "
      "(%s)', r.rulename, CASE r.ev_enabled WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' "
      "END) FROM pg_catalog.pg_rewrite r JOIN l ON l.oid = r.ev_class CROSS JOIN k WHERE "
      "r.ev_enabled IN ('A', 'R') AND r.is_instead AND k.kinds & CASE r.ev_type WHEN '2' THEN 16 "
      "WHEN '3' THEN 4 WHEN '4' THEN 8 ELSE 0 END <> 0 ORDER BY 1");
}

absl::string_view Verb(uint32_t kinds) {
  if (kinds == kInsertsRows) return "INSERT";
  if (kinds == kDeletesRows) return "DELETE";
  return kinds == kUpdatesRows ? "UPDATE" : "change";
}

absl::Status Explanation(const absl::Status& left_out, Pipe* pipe) {
  const auto payload = left_out.GetPayload(kPayload);
  const std::string told(payload.has_value() ? *payload : absl::Cord());
  const std::vector<std::string> parts = absl::StrSplit(told, absl::MaxSplits(' ', 2));
  uint32_t table = 0;
  uint32_t kinds = 0;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &table) ||
      !absl::SimpleAtoi(parts[1], &kinds)) {
    return absl::InternalError("asked to explain what is no row left out");
  }
  std::vector<std::string> causes;
  RETURN_IF_ERROR(pipe->Exec(CausesSql(table, kinds), [&causes](const Result& result) {
    for (int i = 0; i < result.rows(); ++i) causes.emplace_back(result.value(i, 0));
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(pipe->Finish());
  if (causes.empty()) {
    return absl::AbortedError(absl::StrCat(
        "table \"", parts[2],
        "\" leaves out a row, again and again, and has no trigger or rule "
        "that fires for apply and could do so; whoever writes the same row all the time keeps "
        "it away"));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "table \"", parts[2], "\" leaves out a row: ", Verb(kinds),
      " without an error, and the row "
      "is not written; what fires for apply and can do so is ",
      absl::StrJoin(causes, ", "),
      "; let it pass the rows of other nodes, or drop it, or let it fire for users alone (ALTER "
      "TABLE ",
      parts[2], " ENABLE TRIGGER ...), and run \"bdrctl apply retry\""));
}

}  // namespace

absl::Status LeftOut(const postgres::TableInfo& table, unsigned kinds) {
  absl::Status status = absl::AbortedError(absl::StrCat(
      "a row of table \"", table.DisplayName(), "\" was not written, or changed meanwhile"));
  status.SetPayload(kPayload,
                    absl::Cord(absl::StrCat(table.oid, " ", kinds, " ", table.DisplayName())));
  return status;
}

bool IsLeftOut(const absl::Status& status) { return status.GetPayload(kPayload).has_value(); }

Pipe::Handler AllWritten(const postgres::TableInfo& table, unsigned kinds, size_t rows) {
  return [&table, kinds, rows](const Result& result) {
    // A row that nobody can write is deleted and inserted by one statement, which tells of it as a
    // SELECT does.
    const int64_t written = std::max<int64_t>(result.affected(), result.rows());
    return written == static_cast<int64_t>(rows) ? absl::OkStatus() : LeftOut(table, kinds);
  };
}

Pipe::Handler AllReplaced(const postgres::TableInfo& table) {
  return [&table](const Result& result) {
    return result.value(0, 0) == "t" ? absl::OkStatus()
                                     : LeftOut(table, kDeletesRows | kInsertsRows);
  };
}

absl::Status ExplainLeftOut(const absl::Status& left_out, Pipe* pipe) {
  absl::Status explained = Explanation(left_out, pipe);
  if (const auto payload = left_out.GetPayload(kPayload); payload.has_value()) {
    explained.SetPayload(kPayload, *payload);
  }
  return explained;
}

}  // namespace bdr::agent
