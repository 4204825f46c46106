#include "node-agent/admin/table_hash.h"

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "node-agent/tables/published_table.h"
#include "node-agent/tables/row_sql.h"
#include "postgres/catalog.h"

namespace bdr::agent {
namespace {

using postgres::QuoteLiteral;
using postgres::Result;

// Rows between two breaths of a pass that has a pace.
constexpr uint64_t kRowsPerFetch = 5000;

absl::Status CheckBuckets(uint32_t buckets) {
  if (buckets >= 1 && buckets <= kMostBuckets) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("cannot hash by ", buckets, " buckets: take 1 to ", kMostBuckets));
}

struct HashSql {
  std::string bucket;  // expression: 0 .. buckets - 1
  std::string key;     // expressions: text for people, then the key's columns as text
  std::string from;
};

HashSql MakeSql(const postgres::TableInfo& table, uint32_t buckets) {
  HashSql sql;
  std::string spread = "h";  // without a key all that a row has is its content
  sql.key = "'row ' || to_hex(h)";
  if (table.has_key) {
    std::vector<std::string> parts;
    for (const int index : table.key) {
      const std::string& name = table.columns[index].name;
      parts.push_back(absl::StrCat(QuoteLiteral(absl::StrCat(name, "=")), " || quote_nullable(",
                                   AsTextSql(name), ")"));
    }
    spread = KeyHashSql(table);
    sql.key = absl::StrCat(absl::StrJoin(parts, " || ', ' || "), ", ", KeyTextSql(table));
  }
  sql.bucket = absl::StrCat("mod(mod(", spread, ", ", buckets, ") + ", buckets, ", ", buckets, ")");
  sql.from = absl::StrCat("FROM ", FromSql(table), " CROSS JOIN LATERAL (SELECT ",
                          RowHashSql(table), " AS h) AS hashed");
  return sql;
}

// Runs `select` row by row through a cursor, in one snapshot, with rests. What it gives need not
// fit into memory.
absl::Status Walk(postgres::Connection& connection, const std::string& select, const Pace& pace,
                  const std::function<absl::Status(const Result&, int)>& visit) {
  const uint64_t fetch = pace.rows_per_second > 0
                             ? std::clamp<uint64_t>(pace.rows_per_second / 10, 1, kRowsPerFetch)
                             : kRowsPerFetch;
  // A rest must not count as an idle session that is to be ended.
  RETURN_IF_ERROR(connection
                      .Exec(absl::StrCat("BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0;"
                                         "DECLARE walk NO SCROLL CURSOR FOR ",
                                         select))
                      .status());
  absl::Status status;
  while (status.ok()) {
    const absl::Time begun = absl::Now();
    const absl::StatusOr<Result> rows =
        connection.Exec(absl::StrCat("FETCH ", fetch, " FROM walk"));
    if (!rows.ok()) {
      status = rows.status();
      break;
    }
    for (int i = 0; status.ok() && i < rows->rows(); ++i) status = visit(*rows, i);
    if (rows->rows() == 0) break;
    absl::SleepFor(Rest(pace, static_cast<uint64_t>(rows->rows()), absl::Now() - begun));
  }
  const absl::Status ended = connection.Exec("ROLLBACK").status();
  return status.ok() ? ended : status;
}

bool Unlimited(const Pace& pace) {
  return pace.rows_per_second == 0 && (pace.load_percent == 0 || pace.load_percent >= 100);
}

}  // namespace

absl::StatusOr<std::vector<BucketHash>> HashTable(postgres::Connection& connection,
                                                  absl::string_view schema, absl::string_view name,
                                                  uint32_t buckets, const Pace& pace) {
  RETURN_IF_ERROR(CheckBuckets(buckets));
  ASSIGN_OR_RETURN(const postgres::TableInfo table, LoadPublished(connection, schema, name));
  const HashSql sql = MakeSql(table, buckets);
  std::vector<BucketHash> result(buckets);
  const auto bucket_of = [&](const Result& rows, int i) -> absl::StatusOr<BucketHash*> {
    ASSIGN_OR_RETURN(const uint64_t bucket, ToUint64(rows.value(i, 0)));
    if (bucket >= buckets) return absl::InternalError("PostgreSQL gave a bucket that is none");
    return &result[bucket];
  };
  const std::string spread = absl::StrCat("SELECT ", sql.bucket, " AS bucket, h ", sql.from);
  if (!Unlimited(pace)) {
    RETURN_IF_ERROR(Walk(connection, spread, pace, [&](const Result& rows, int i) -> absl::Status {
      ASSIGN_OR_RETURN(BucketHash * bucket, bucket_of(rows, i));
      ASSIGN_OR_RETURN(const uint64_t hash, ToUint64(rows.value(i, 1)));
      bucket->hash += hash;
      ++bucket->rows;
      return absl::OkStatus();
    }));
    return result;
  }
  ASSIGN_OR_RETURN(const Result rows,
                   connection.Exec(absl::StrCat("SELECT bucket, count(*), ", SumSql("h"), " FROM (",
                                                spread, ") AS spread GROUP BY bucket")));
  for (int i = 0; i < rows.rows(); ++i) {
    ASSIGN_OR_RETURN(BucketHash * bucket, bucket_of(rows, i));
    ASSIGN_OR_RETURN(bucket->rows, ToUint64(rows.value(i, 1)));
    ASSIGN_OR_RETURN(bucket->hash, ToUint64(rows.value(i, 2)));
  }
  return result;
}

namespace {

// Of each bucket whether it is wanted.
absl::StatusOr<std::vector<bool>> Wanted(uint32_t buckets, const std::vector<uint32_t>& wanted) {
  RETURN_IF_ERROR(CheckBuckets(buckets));
  std::vector<bool> is_wanted(buckets, false);
  for (const uint32_t bucket : wanted) {
    if (bucket >= buckets) {
      return absl::InvalidArgumentError(
          absl::StrCat("there is no bucket ", bucket, " among ", buckets, ", counted from 0"));
    }
    is_wanted[bucket] = true;
  }
  return is_wanted;
}

}  // namespace

absl::StatusOr<std::vector<RowHash>> HashRows(postgres::Connection& connection,
                                              absl::string_view schema, absl::string_view name,
                                              uint32_t buckets, const std::vector<uint32_t>& wanted,
                                              const Pace& pace) {
  ASSIGN_OR_RETURN(const std::vector<bool> is_wanted, Wanted(buckets, wanted));
  ASSIGN_OR_RETURN(const postgres::TableInfo table, LoadPublished(connection, schema, name));
  const HashSql sql = MakeSql(table, buckets);
  std::vector<RowHash> result;
  const auto take = [&](const Result& rows, int i) -> absl::Status {
    ASSIGN_OR_RETURN(const uint64_t bucket, ToUint64(rows.value(i, 0)));
    if (bucket >= buckets || !is_wanted[bucket]) return absl::OkStatus();
    ASSIGN_OR_RETURN(const uint64_t hash, ToUint64(rows.value(i, 1)));
    RowHash row{.key = std::string(rows.value(i, 2)), .hash = hash, .columns = {}};
    for (int column = 3; column < rows.columns(); ++column) {
      row.columns.emplace_back(rows.value(i, column));
    }
    result.push_back(std::move(row));
    return absl::OkStatus();
  };
  const std::string select = absl::StrCat("SELECT ", sql.bucket, ", h, ", sql.key, " ", sql.from);
  if (!Unlimited(pace)) {
    // All rows are fetched, so that the pace holds for those that are read as well.
    RETURN_IF_ERROR(Walk(connection, select, pace, take));
    return result;
  }
  ASSIGN_OR_RETURN(const Result rows,
                   connection.Exec(absl::StrCat(select, " WHERE ", sql.bucket, " = ANY ('{",
                                                absl::StrJoin(wanted, ","), "}'::bigint[])")));
  result.reserve(static_cast<size_t>(rows.rows()));
  for (int i = 0; i < rows.rows(); ++i) RETURN_IF_ERROR(take(rows, i));
  return result;
}

}  // namespace bdr::agent
