#include "node-agent/admin/table_hash.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "postgres/catalog.h"

namespace bdr::agent {
namespace {

using postgres::QuoteIdentifier;
using postgres::QuoteLiteral;

absl::Status CheckBuckets(uint32_t buckets) {
  if (buckets >= 1 && buckets <= kMostBuckets) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("cannot hash by ", buckets, " buckets: take 1 to ", kMostBuckets));
}

// t."a"::text: the text of a value does not depend on the OIDs of its type.
std::string AsText(const std::string& column) {
  return absl::StrCat("t.", QuoteIdentifier(column), "::text");
}

// The text of ROW() tells NULL from '' and quotes what needs it, so two rows never read alike.
std::string HashOfColumns(const std::vector<std::string>& columns, absl::string_view seed) {
  std::vector<std::string> values;
  for (const std::string& column : columns) values.push_back(AsText(column));
  return absl::StrCat("hashtextextended(ROW(", absl::StrJoin(values, ", "),
                      ")::text COLLATE \"C\", ", seed, ")");
}

struct HashSql {
  std::string row;     // expression: bigint
  std::string bucket;  // expression: 0 .. buckets - 1
  std::string key;     // expression: text
  std::string from;
};

// Seeded by the names, so that a renamed column is a difference.
std::string SeedOf(const std::vector<std::string>& columns) {
  return absl::StrCat("hashtextextended(", QuoteLiteral(absl::StrJoin(columns, ",")), ", 0)");
}

HashSql MakeSql(const postgres::TableInfo& table, uint32_t buckets) {
  std::vector<std::string> columns;
  for (const auto& column : table.columns) columns.push_back(column.name);
  std::sort(columns.begin(), columns.end());

  HashSql sql;
  sql.row = HashOfColumns(columns, SeedOf(columns));
  std::string spread = "h";  // without a key all that a row has is its content
  sql.key = "'row ' || to_hex(h)";
  if (table.has_key) {
    std::vector<std::string> names, parts;
    for (const int index : table.key) {
      const std::string& name = table.columns[index].name;
      names.push_back(name);
      parts.push_back(absl::StrCat(QuoteLiteral(absl::StrCat(name, "=")), " || quote_nullable(",
                                   AsText(name), ")"));
    }
    spread = HashOfColumns(names, "0");
    sql.key = absl::StrJoin(parts, " || ', ' || ");
  }
  sql.bucket = absl::StrCat("mod(mod(", spread, ", ", buckets, ") + ", buckets, ", ", buckets, ")");
  // Rows of tables that inherit from this one are theirs; partitions are part of their root.
  sql.from = absl::StrCat("FROM ", table.kind == 'p' ? "" : "ONLY ", table.QualifiedName(),
                          " AS t CROSS JOIN LATERAL (SELECT ", sql.row, " AS h) AS hashed");
  return sql;
}

absl::StatusOr<uint64_t> ToUint64(absl::string_view text) {
  uint64_t value = 0;
  if (absl::SimpleAtoi(text, &value)) return value;
  int64_t signed_value = 0;
  if (absl::SimpleAtoi(text, &signed_value)) return static_cast<uint64_t>(signed_value);
  return absl::InternalError(absl::StrCat("PostgreSQL gave \"", text, "\" for a hash or a count"));
}

}  // namespace

absl::StatusOr<std::vector<BucketHash>> HashTable(postgres::Connection& connection,
                                                  absl::string_view schema, absl::string_view name,
                                                  uint32_t buckets) {
  RETURN_IF_ERROR(CheckBuckets(buckets));
  ASSIGN_OR_RETURN(const postgres::TableInfo table, postgres::LoadTable(connection, schema, name));
  const HashSql sql = MakeSql(table, buckets);
  // sum() over bigint is exact; the modulus makes it a number of 64 bits again.
  ASSIGN_OR_RETURN(
      const postgres::Result rows,
      connection.Exec(absl::StrCat(
          "SELECT bucket, count(*), mod(mod(sum(h), 18446744073709551616) + 18446744073709551616,"
          " 18446744073709551616) FROM (SELECT ",
          sql.bucket, " AS bucket, h ", sql.from, ") AS spread GROUP BY bucket")));
  std::vector<BucketHash> result(buckets);
  for (int i = 0; i < rows.rows(); ++i) {
    ASSIGN_OR_RETURN(const uint64_t bucket, ToUint64(rows.value(i, 0)));
    if (bucket >= buckets) return absl::InternalError("PostgreSQL gave a bucket that is none");
    ASSIGN_OR_RETURN(result[bucket].rows, ToUint64(rows.value(i, 1)));
    ASSIGN_OR_RETURN(result[bucket].hash, ToUint64(rows.value(i, 2)));
  }
  return result;
}

absl::StatusOr<std::vector<RowHash>> HashRows(postgres::Connection& connection,
                                              absl::string_view schema, absl::string_view name,
                                              uint32_t buckets,
                                              const std::vector<uint32_t>& wanted) {
  RETURN_IF_ERROR(CheckBuckets(buckets));
  for (const uint32_t bucket : wanted) {
    if (bucket < buckets) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("there is no bucket ", bucket, " among ", buckets, ", counted from 0"));
  }
  ASSIGN_OR_RETURN(const postgres::TableInfo table, postgres::LoadTable(connection, schema, name));
  const HashSql sql = MakeSql(table, buckets);
  ASSIGN_OR_RETURN(
      const postgres::Result rows,
      connection.Exec(absl::StrCat("SELECT ", sql.key, ", h ", sql.from, " WHERE ", sql.bucket,
                                   " = ANY ('{", absl::StrJoin(wanted, ","), "}'::bigint[])")));
  std::vector<RowHash> result;
  result.reserve(rows.rows());
  for (int i = 0; i < rows.rows(); ++i) {
    ASSIGN_OR_RETURN(const uint64_t hash, ToUint64(rows.value(i, 1)));
    result.push_back({std::string(rows.value(i, 0)), hash});
  }
  return result;
}

}  // namespace bdr::agent
