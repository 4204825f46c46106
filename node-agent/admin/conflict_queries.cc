#include "node-agent/admin/conflict_queries.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "bdr/v1/admin.pb.h"
#include "node-agent/admin/result_values.h"

namespace bdr::agent {
namespace {

constexpr int kDefaultLimit = 100;
constexpr int kMostConflicts = 100000;

constexpr char kColumns[] =
    "SELECT id, (extract(epoch FROM detected_at) * 1000000)::bigint, relation, kind, key, "
    "local_row,"
    "       remote_row, (extract(epoch FROM local_stamp) * 1000000)::bigint, local_node,"
    "       (extract(epoch FROM remote_stamp) * 1000000)::bigint, remote_node, winner,"
    "       coalesce(rule, ''), CASE WHEN remote_seen = 'infinity' THEN 9223372036854775807"
    "         ELSE (extract(epoch FROM remote_seen) * 1000000)::bigint END,"
    "       local_lsn - '0/0'::pg_lsn, local_incarnation, remote_lsn - '0/0'::pg_lsn,"
    "       remote_incarnation, coalesce(to_jsonb(remote_absent), '[]'),"
    "       (extract(epoch FROM undone_at) * 1000000)::bigint "
    "FROM bdr.conflict_log ";

void Fill(const postgres::Result& rows, int i, v1::Conflict* out) {
  out->set_id(ToInt<int64_t>(rows.value(i, 0)));
  out->set_detected_us(ToInt<int64_t>(rows.value(i, 1)));
  out->set_table(std::string(rows.value(i, 2)));
  out->set_kind(std::string(rows.value(i, 3)));
  out->set_key(std::string(rows.value(i, 4)));
  out->set_local_row(std::string(rows.value(i, 5)));
  out->set_remote_row(std::string(rows.value(i, 6)));
  out->set_local_stamp_us(ToInt<int64_t>(rows.value(i, 7)));
  out->set_local_node(ToInt<uint32_t>(rows.value(i, 8)));
  out->set_remote_stamp_us(ToInt<int64_t>(rows.value(i, 9)));
  out->set_remote_node(ToInt<uint32_t>(rows.value(i, 10)));
  out->set_winner(std::string(rows.value(i, 11)));
  out->set_rule(std::string(rows.value(i, 12)));
  out->set_remote_seen_us(ToInt<int64_t>(rows.value(i, 13)));
  out->set_local_lsn(ToInt<uint64_t>(rows.value(i, 14)));
  out->set_local_incarnation(ToInt<uint32_t>(rows.value(i, 15)));
  out->set_remote_lsn(ToInt<uint64_t>(rows.value(i, 16)));
  out->set_remote_incarnation(ToInt<uint32_t>(rows.value(i, 17)));
  const auto absent = nlohmann::json::parse(rows.value(i, 18), nullptr, /*allow_exceptions=*/false);
  if (absent.is_array()) {
    for (const auto& column : absent) {
      if (column.is_string()) out->add_remote_absent(column.get<std::string>());
    }
  }
  out->set_undone_us(ToInt<int64_t>(rows.value(i, 19)));
}

}  // namespace

absl::Status ListConflicts(postgres::Connection& connection,
                           const v1::ListConflictsRequest& request,
                           v1::ListConflictsResponse* response) {
  const int limit =
      request.limit() <= 0 ? kDefaultLimit : std::min(request.limit(), kMostConflicts);
  const std::string since = absl::StrCat(request.since_us());
  const std::string winner_node = absl::StrCat(request.winner_node());
  const postgres::Param params[] = {{.data = since},
                                    {.data = request.table()},
                                    {.data = request.kind()},
                                    {.data = request.winner()},
                                    {.data = winner_node}};
  ASSIGN_OR_RETURN(const postgres::Result rows,
                   connection.ExecParams(
                       absl::StrCat(kColumns,
                                    "WHERE detected_at >= to_timestamp($1::bigint / 1000000.0)"
                                    "  AND ($2 = '' OR relation = $2 OR relation LIKE '%.' || $2)"
                                    "  AND ($3 = '' OR kind = $3) AND ($4 = '' OR winner = $4)"
                                    "  AND ($5::int = 0 OR CASE winner WHEN 'local'"
                                    "    THEN local_node ELSE remote_node END = $5::int) "
                                    "ORDER BY detected_at DESC, id DESC LIMIT ",
                                    limit),
                       params));
  for (int i = 0; i < rows.rows(); ++i) Fill(rows, i, response->add_conflicts());
  return absl::OkStatus();
}

absl::Status GetConflict(postgres::Connection& connection, int64_t id, v1::Conflict* conflict) {
  const std::string text = absl::StrCat(id);
  const postgres::Param params[] = {{.data = text}};
  ASSIGN_OR_RETURN(const postgres::Result rows,
                   connection.ExecParams(absl::StrCat(kColumns, "WHERE id = $1::bigint"), params));
  if (rows.rows() == 0) {
    return absl::NotFoundError(absl::StrCat("there is no conflict ", id,
                                            " on this node: it never was, or it is older than "
                                            "conflict_log.max_age allows"));
  }
  Fill(rows, 0, conflict);
  return absl::OkStatus();
}

}  // namespace bdr::agent
