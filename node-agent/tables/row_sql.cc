#include "node-agent/tables/row_sql.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace bdr::agent {
namespace {

using postgres::QuoteIdentifier;
using postgres::QuoteLiteral;

// The text of ROW() tells NULL from '' and quotes what needs it, so two rows never read alike.
std::string HashOfColumns(const std::vector<std::string>& columns, absl::string_view seed) {
  std::vector<std::string> values;
  for (const std::string& column : columns) values.push_back(AsTextSql(column));
  return absl::StrCat("pg_catalog.hashtextextended(ROW(", absl::StrJoin(values, ", "),
                      ")::text COLLATE \"C\", ", seed, ")");
}

}  // namespace

// The text of a value does not depend on the OIDs of its type.
std::string AsTextSql(const std::string& column) {
  return absl::StrCat("t.", QuoteIdentifier(column), "::text");
}

std::vector<std::string> HashedColumns(const postgres::TableInfo& table) {
  std::vector<std::string> columns;
  for (const auto& column : table.columns) columns.push_back(column.name);
  std::sort(columns.begin(), columns.end());
  return columns;
}

// Seeded by the names, so that a renamed column is a difference.
std::string RowHashSql(const postgres::TableInfo& table) {
  const std::vector<std::string> columns = HashedColumns(table);
  return HashOfColumns(columns, absl::StrCat("pg_catalog.hashtextextended(",
                                             QuoteLiteral(absl::StrJoin(columns, ",")), ", 0)"));
}

std::string KeyHashSql(const postgres::TableInfo& table) {
  std::vector<std::string> names;
  for (const int index : table.key) names.push_back(table.columns[index].name);
  return HashOfColumns(names, "0");
}

std::string ColumnHashSql(const std::string& column) {
  return absl::StrCat("coalesce(pg_catalog.hashtextextended(", AsTextSql(column),
                      " COLLATE \"C\", 1), 0)");
}

std::string FromSql(const postgres::TableInfo& table) {
  return absl::StrCat(table.kind == 'p' ? "" : "ONLY ", table.QualifiedName(), " AS t");
}

std::string TypeSql(const postgres::ColumnInfo& column) {
  return absl::StrCat(QuoteIdentifier(column.type->schema), ".",
                      QuoteIdentifier(column.type->name));
}

std::string CollateSql(const postgres::ColumnInfo& column) {
  return column.collation.empty() ? "" : absl::StrCat(" COLLATE ", column.collation);
}

std::string CompareKeySql(const postgres::TableInfo& table, absl::string_view comparison,
                          size_t first_parameter) {
  std::vector<std::string> ours, theirs;
  for (size_t i = 0; i < table.key.size(); ++i) {
    const postgres::ColumnInfo& column = table.columns[table.key[i]];
    ours.push_back(absl::StrCat("t.", QuoteIdentifier(column.name), CollateSql(column)));
    theirs.push_back(absl::StrCat("$", first_parameter + i, "::text::", TypeSql(column)));
  }
  return absl::StrCat("(", absl::StrJoin(ours, ", "), ") ", comparison, " (",
                      absl::StrJoin(theirs, ", "), ")");
}

std::string KeyOrderSql(const postgres::TableInfo& table) {
  std::vector<std::string> columns;
  for (const int index : table.key) {
    const postgres::ColumnInfo& column = table.columns[index];
    columns.push_back(absl::StrCat("t.", QuoteIdentifier(column.name), CollateSql(column)));
  }
  return absl::StrJoin(columns, ", ");
}

std::string KeyTextSql(const postgres::TableInfo& table) {
  std::vector<std::string> columns;
  for (const int index : table.key) columns.push_back(AsTextSql(table.columns[index].name));
  return absl::StrJoin(columns, ", ");
}

// sum() over bigint is exact; the modulus makes it a number of 64 bits again.
std::string SumSql(absl::string_view expression) {
  return absl::StrCat("mod(mod(coalesce(sum(", expression,
                      "), 0), 18446744073709551616) + 18446744073709551616, 18446744073709551616)");
}

absl::StatusOr<uint64_t> ToUint64(absl::string_view text) {
  uint64_t value = 0;
  if (absl::SimpleAtoi(text, &value)) return value;
  int64_t signed_value = 0;
  if (absl::SimpleAtoi(text, &signed_value)) return static_cast<uint64_t>(signed_value);
  return absl::InternalError(absl::StrCat("PostgreSQL gave \"", text, "\" for a hash or a count"));
}

std::string TimestampSql(int64_t time_us) {
  return absl::StrCat("('epoch'::pg_catalog.timestamptz + ", time_us,
                      " * '1 microsecond'::pg_catalog.interval)");
}

std::string ArrayLiteral(const std::vector<std::string>& values) {
  std::string out = "{";
  for (const std::string& value : values) {
    absl::StrAppend(&out, out.size() == 1 ? "\"" : ",\"");
    for (const char c : value) {
      if (c == '"' || c == '\\') out.push_back('\\');
      out.push_back(c);
    }
    out.push_back('"');
  }
  out.push_back('}');
  return out;
}

}  // namespace bdr::agent
