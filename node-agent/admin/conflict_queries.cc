#include "node-agent/admin/conflict_queries.h"

#include <algorithm>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "bdr/v1/admin.pb.h"

namespace bdr::agent {
namespace {

constexpr int kDefaultLimit = 100;
constexpr int kMostConflicts = 100000;

constexpr char kColumns[] =
    "SELECT id, (extract(epoch FROM detected_at) * 1000000)::bigint, relation, kind, key, "
    "local_row,"
    "       remote_row, (extract(epoch FROM local_stamp) * 1000000)::bigint, local_node,"
    "       (extract(epoch FROM remote_stamp) * 1000000)::bigint, remote_node, winner "
    "FROM bdr.conflict_log ";

// 0 for NULL.
template <typename Int>
Int ToInt(absl::string_view text) {
  Int value = 0;
  return absl::SimpleAtoi(text, &value) ? value : 0;
}

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
}

}  // namespace

absl::Status ListConflicts(postgres::Connection& connection,
                           const v1::ListConflictsRequest& request,
                           v1::ListConflictsResponse* response) {
  const int limit =
      request.limit() <= 0 ? kDefaultLimit : std::min(request.limit(), kMostConflicts);
  const std::string since = absl::StrCat(request.since_us());
  const postgres::Param params[] = {
      {.data = since}, {.data = request.table()}, {.data = request.kind()}};
  ASSIGN_OR_RETURN(const postgres::Result rows,
                   connection.ExecParams(
                       absl::StrCat(kColumns,
                                    "WHERE detected_at >= to_timestamp($1::bigint / 1000000.0)"
                                    "  AND ($2 = '' OR relation = $2) AND ($3 = '' OR kind = $3) "
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
