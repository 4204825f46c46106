#include "node-agent/admin/dead_letter_queries.h"

#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/lsn.h"
#include "base/status_macros.h"
#include "bdr/v1/admin.pb.h"
#include "node-agent/admin/result_values.h"

namespace bdr::agent {

absl::Status ListDeadLetters(postgres::Connection& connection,
                             v1::ListDeadLettersResponse* response) {
  ASSIGN_OR_RETURN(
      const postgres::Result rows,
      connection.Exec(
          "SELECT l.id, (extract(epoch FROM l.put_aside_at) * 1000000)::bigint, l.origin_node,"
          "       l.origin_incarnation, l.end_lsn,"
          "       (extract(epoch FROM l.stamp) * 1000000)::bigint, l.cause, l.contents, l.changes,"
          "       (SELECT coalesce(sum(octet_length(p.block)), 0)"
          "        FROM bdr.dead_letter_part p WHERE p.letter = l.id) "
          "FROM bdr.dead_letter l ORDER BY l.id"));
  for (int i = 0; i < rows.rows(); ++i) {
    v1::DeadLetter* out = response->add_letters();
    out->set_id(ToInt<int64_t>(rows.value(i, 0)));
    out->set_put_aside_us(ToInt<int64_t>(rows.value(i, 1)));
    out->set_origin_node(ToInt<uint32_t>(rows.value(i, 2)));
    out->set_origin_incarnation(ToInt<uint32_t>(rows.value(i, 3)));
    ASSIGN_OR_RETURN(const Lsn end_lsn, ParseLsn(rows.value(i, 4)));
    out->set_end_lsn(end_lsn.value);
    out->set_stamp_us(ToInt<int64_t>(rows.value(i, 5)));
    out->set_cause(std::string(rows.value(i, 6)));
    out->set_contents(std::string(rows.value(i, 7)));
    out->set_changes(ToInt<int64_t>(rows.value(i, 8)));
    out->set_bytes(ToInt<int64_t>(rows.value(i, 9)));
  }
  return absl::OkStatus();
}

absl::Status DropDeadLetter(postgres::Connection& connection, int64_t id) {
  // The admin service's sessions only read unless told otherwise.
  RETURN_IF_ERROR(connection.Exec("BEGIN READ WRITE").status());
  const absl::StatusOr<postgres::Result> dropped = connection.Exec(
      absl::StrCat("WITH letter AS (DELETE FROM bdr.dead_letter WHERE id = ", id,
                   " RETURNING id), part AS (DELETE FROM bdr.dead_letter_part p USING letter "
                   "WHERE p.letter = letter.id) SELECT id FROM letter"));
  const absl::Status ended = connection.Exec(dropped.ok() ? "COMMIT" : "ROLLBACK").status();
  RETURN_IF_ERROR(dropped.status());
  RETURN_IF_ERROR(ended);
  if (dropped->rows() == 1) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("there is no dead letter ", id, " on this node"));
}

}  // namespace bdr::agent
