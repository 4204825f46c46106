#include "node-agent/positions/applied_position.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/status_macros.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kUntilEnded = absl::Seconds(2);

}  // namespace

absl::StatusOr<std::vector<AppliedPosition>> ReadApplied(postgres::Connection& connection) {
  ASSIGN_OR_RETURN(const postgres::Result result,
                   connection.Exec("SELECT origin_node, origin_incarnation, lsn, coalesce("
                                   "(extract(epoch FROM stamp) * 1000000)::int8, 0), "
                                   "pg_current_wal_insert_lsn() FROM bdr.progress"));
  std::vector<AppliedPosition> positions;
  for (int row = 0; row < result.rows(); ++row) {
    AppliedPosition position;
    uint32_t node = 0;
    if (!absl::SimpleAtoi(result.value(row, 0), &node) ||
        !absl::SimpleAtoi(result.value(row, 1), &position.origin.incarnation) ||
        !absl::SimpleAtoi(result.value(row, 3), &position.stamp_us)) {
      return absl::InternalError("bdr.progress holds what is no number");
    }
    position.origin.node = static_cast<NodeId>(node);
    ASSIGN_OR_RETURN(position.lsn, ParseLsn(result.value(row, 2)));
    ASSIGN_OR_RETURN(position.local_after, ParseLsn(result.value(row, 4)));
    positions.push_back(position);
  }
  return positions;
}

namespace {

absl::Status Create(postgres::Connection& connection, absl::string_view name) {
  const std::string quoted_name = postgres::QuoteLiteral(name);
  return connection
      .Exec(absl::StrCat("SELECT pg_replication_origin_create(", quoted_name,
                         ") WHERE NOT EXISTS (SELECT FROM pg_replication_origin WHERE roname = ",
                         quoted_name, ")"))
      .status();
}

}  // namespace

absl::Status CreateRepairOrigin(postgres::Connection& connection, const ServerNames& names) {
  return Create(connection, names.RepairOrigin());
}

absl::Status CreateOrigin(postgres::Connection& connection, const ServerNames& names,
                          OriginId origin) {
  return Create(connection, names.Origin(origin));
}

// A session that ended holds its origin until its backend is gone, which takes a moment.
absl::Status TakeOrigin(postgres::Connection& connection, const ServerNames& names,
                        OriginId origin) {
  const std::string name = postgres::QuoteLiteral(names.Origin(origin));
  RETURN_IF_ERROR(CreateOrigin(connection, names, origin));
  RETURN_IF_ERROR(
      connection
          .Exec(absl::StrCat("SELECT pg_terminate_backend(pid, ",
                             absl::ToInt64Milliseconds(kUntilEnded),
                             ") FROM pg_stat_activity WHERE application_name = ",
                             postgres::QuoteLiteral(absl::StrCat("bdr apply ", ToString(origin))),
                             " AND datname = current_database() AND usename = current_user"
                             " AND pid <> pg_backend_pid()"))
          .status());
  return connection.Exec(absl::StrCat("SELECT pg_replication_origin_session_setup(", name, ")"))
      .status();
}

}  // namespace bdr::agent
