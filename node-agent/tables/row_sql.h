// SQL by which every node says the same of the same rows: hashes of them, and their keys as text.
//
// A row's hash is taken over the text of its columns in the order of their names, so it depends on
// neither column order nor OIDs, nor on what roles and databases default to: the session is one of
// postgres::Connection, which pins how values are written, and has row_security off.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "postgres/catalog.h"
#include "postgres/connection.h"

namespace bdr::agent {

// Names of the columns that are hashed, sorted.
std::vector<std::string> HashedColumns(const postgres::TableInfo& table);

// Expression over the row `t`: bigint.
std::string RowHashSql(const postgres::TableInfo& table);
// The same for the key alone; only for tables with one.
std::string KeyHashSql(const postgres::TableInfo& table);
// Of one column: bigint, 0 for NULL.
std::string ColumnHashSql(const std::string& column);
// t."a"::text
std::string AsTextSql(const std::string& column);

// "ONLY table AS t": rows of tables that inherit from this one are theirs; partitions are part of
// their root.
std::string FromSql(const postgres::TableInfo& table);

// "schema"."type" of a column, to cast text to.
std::string TypeSql(const postgres::ColumnInfo& column);
// " COLLATE ..." by which the key is ordered and compared, or "".
std::string CollateSql(const postgres::ColumnInfo& column);
// Expression "t.key columns compare to parameters $first, $first + 1, ...": `comparison` is =, >,
// <= and the like, by the order of the key.
std::string CompareKeySql(const postgres::TableInfo& table, absl::string_view comparison,
                          size_t first_parameter);
// "t.a COLLATE x, t.b": for ORDER BY.
std::string KeyOrderSql(const postgres::TableInfo& table);
// "t.a::text, t.b::text"
std::string KeyTextSql(const postgres::TableInfo& table);

// A sum of bigints modulo 2^64, as ToUint64() reads it.
std::string SumSql(absl::string_view expression);
absl::StatusOr<uint64_t> ToUint64(absl::string_view text);

// An expression: timestamptz, of µs since 1970.
std::string TimestampSql(int64_t time_us);

// The text of a text[] value.
std::string ArrayLiteral(const std::vector<std::string>& values);

}  // namespace bdr::agent
