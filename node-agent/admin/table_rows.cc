#include "node-agent/admin/table_rows.h"

#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "bdr/v1/admin.pb.h"
#include "node-agent/tables/column_map.h"
#include "node-agent/tables/published_table.h"
#include "node-agent/tables/row_sql.h"
#include "postgres/catalog.h"
#include "postgres/owners_code.h"

namespace bdr::agent {
namespace {

using postgres::QuoteIdentifier;
using postgres::Result;
using postgres::TableInfo;

constexpr int kMostKeys = 10000;

absl::StatusOr<TableInfo> LoadKeyed(postgres::Connection& connection, const std::string& schema,
                                    const std::string& name) {
  ASSIGN_OR_RETURN(TableInfo table, LoadPublished(connection, schema, name));
  // Keys are given as values of the columns' types.
  RETURN_IF_ERROR(postgres::LoadOwnersCode(connection, &table));
  RETURN_IF_ERROR(postgres::MayRunCode(table));
  if (table.has_key) return table;
  return absl::FailedPreconditionError(
      absl::StrCat("table \"", table.DisplayName(), "\" has no key to find rows by"));
}

absl::Status CheckKey(const TableInfo& table, const v1::Key& key) {
  if (static_cast<size_t>(key.column_size()) == table.key.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a key of table \"", table.DisplayName(),
                                                 "\" has ", table.key.size(), " columns, not ",
                                                 key.column_size()));
}

struct Where {
  std::string sql;  // " WHERE ...", or nothing
  std::vector<postgres::Param> params;
};

absl::StatusOr<Where> InRange(const TableInfo& table, const v1::KeyRange& range) {
  Where where;
  std::vector<std::string> terms;
  const auto add = [&](const v1::Key& key, absl::string_view comparison) -> absl::Status {
    RETURN_IF_ERROR(CheckKey(table, key));
    terms.push_back(CompareKeySql(table, comparison, where.params.size() + 1));
    for (const std::string& column : key.column()) where.params.push_back({.data = column});
    return absl::OkStatus();
  };
  if (range.has_after()) RETURN_IF_ERROR(add(range.after(), ">"));
  if (range.has_through()) RETURN_IF_ERROR(add(range.through(), "<="));
  if (!terms.empty()) where.sql = absl::StrCat(" WHERE ", absl::StrJoin(terms, " AND "));
  return where;
}

// The columns that ReadRows selects behind the row's place: key, hash, xmin, then what was asked
// for.
std::string SelectedSql(const TableInfo& table, const v1::ReadRowsRequest& request) {
  std::string sql = absl::StrCat(KeyTextSql(table), ", ", RowHashSql(table), ", t.xmin::text");
  for (const std::string& column : HashedColumns(table)) {
    if (request.columns()) absl::StrAppend(&sql, ", ", ColumnHashSql(column));
  }
  for (const std::string& column : HashedColumns(table)) {
    if (request.values()) absl::StrAppend(&sql, ", ", AsTextSql(column));
  }
  return sql;
}

absl::Status FillRow(const Result& result, int row, const TableInfo& table,
                     const v1::ReadRowsRequest& request, v1::ReadRowsResponse::Row* out) {
  int column = 1;  // the place comes first
  for (size_t i = 0; i < table.key.size(); ++i) {
    out->mutable_key()->add_column(std::string(result.value(row, column++)));
  }
  ASSIGN_OR_RETURN(const uint64_t hash, ToUint64(result.value(row, column++)));
  out->set_hash(hash);
  out->set_version(std::string(result.value(row, column++)));
  for (size_t i = 0; request.columns() && i < table.columns.size(); ++i) {
    ASSIGN_OR_RETURN(const uint64_t column_hash, ToUint64(result.value(row, column++)));
    out->add_column_hash(column_hash);
  }
  for (size_t i = 0; request.values() && i < table.columns.size(); ++i) {
    out->add_column_text(std::string(result.value(row, column++)));
  }
  return absl::OkStatus();
}

absl::Status ReadRange(postgres::Connection& connection, const TableInfo& table,
                       const v1::ReadRowsRequest& request, v1::ReadRowsResponse* response) {
  ASSIGN_OR_RETURN(const Where where, InRange(table, request.range()));
  const uint64_t most = request.most_rows();
  ASSIGN_OR_RETURN(const Result rows,
                   connection.ExecParams(
                       absl::StrCat("SELECT 0, ", SelectedSql(table, request), " FROM ",
                                    FromSql(table), where.sql, " ORDER BY ", KeyOrderSql(table),
                                    most == 0 ? "" : absl::StrCat(" LIMIT ", most + 1)),
                       where.params));
  for (int i = 0; i < rows.rows(); ++i) {
    if (most != 0 && static_cast<uint64_t>(i) == most) {
      response->set_more(true);
      break;
    }
    v1::ReadRowsResponse::Row* out = response->add_rows();
    out->set_place(static_cast<uint32_t>(i));
    RETURN_IF_ERROR(FillRow(rows, i, table, request, out));
  }
  return absl::OkStatus();
}

// The keys asked for, as a table with a number for each, joined to the rows that have them.
struct KeyedRows {
  std::string from;                   // FROM, to be given the literals as parameters
  std::vector<std::string> literals;  // an array for each column of the key
};

absl::StatusOr<KeyedRows> JoinKeys(const TableInfo& table, const v1::ReadRowsRequest& request) {
  std::vector<std::vector<std::string>> columns(table.key.size());
  for (const v1::Key& key : request.keys()) {
    RETURN_IF_ERROR(CheckKey(table, key));
    for (size_t i = 0; i < columns.size(); ++i) {
      columns[i].push_back(key.column(static_cast<int>(i)));
    }
  }
  KeyedRows keyed;
  std::vector<std::string> arrays, names, terms;
  for (size_t i = 0; i < columns.size(); ++i) {
    const postgres::ColumnInfo& column = table.columns[table.key[i]];
    keyed.literals.push_back(ArrayLiteral(columns[i]));
    arrays.push_back(absl::StrCat("unnest($", i + 1, "::text[])"));
    names.push_back(absl::StrCat("k", i));
    terms.push_back(absl::StrCat("t.", QuoteIdentifier(column.name), CollateSql(column), " ",
                                 KeyOperator(column), " w.k", i, "::", TypeSql(column)));
  }
  keyed.from = absl::StrCat(" FROM ROWS FROM (", absl::StrJoin(arrays, ", "),
                            ") WITH ORDINALITY AS w(", absl::StrJoin(names, ", "), ", n) JOIN ",
                            FromSql(table), " ON ", absl::StrJoin(terms, " AND "));
  return keyed;
}

absl::Status ReadKeys(postgres::Connection& connection, const TableInfo& table,
                      const v1::ReadRowsRequest& request, v1::ReadRowsResponse* response) {
  if (request.keys_size() > kMostKeys) {
    return absl::InvalidArgumentError(absl::StrCat("cannot read ", request.keys_size(),
                                                   " rows at once: ask for at most ", kMostKeys));
  }
  ASSIGN_OR_RETURN(const KeyedRows keyed, JoinKeys(table, request));
  std::vector<postgres::Param> params;
  for (const std::string& literal : keyed.literals) params.push_back({.data = literal});
  ASSIGN_OR_RETURN(
      const Result rows,
      connection.ExecParams(
          absl::StrCat("SELECT w.n - 1, ", SelectedSql(table, request), keyed.from), params));
  for (int i = 0; i < rows.rows(); ++i) {
    uint32_t place = 0;
    if (!absl::SimpleAtoi(rows.value(i, 0), &place)) {
      return absl::InternalError("PostgreSQL gave a place that is no number");
    }
    v1::ReadRowsResponse::Row* out = response->add_rows();
    out->set_place(place);
    RETURN_IF_ERROR(FillRow(rows, i, table, request, out));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status FindKey(postgres::Connection& connection, const v1::FindKeyRequest& request,
                     v1::FindKeyResponse* response) {
  if (request.rows() == 0) return absl::InvalidArgumentError("a range's rows count from 1");
  ASSIGN_OR_RETURN(const TableInfo table, LoadKeyed(connection, request.schema(), request.name()));
  ASSIGN_OR_RETURN(const Where where, InRange(table, request.range()));
  ASSIGN_OR_RETURN(
      const Result rows,
      connection.ExecParams(absl::StrCat("SELECT ", KeyTextSql(table), " FROM ", FromSql(table),
                                         where.sql, " ORDER BY ", KeyOrderSql(table), " OFFSET ",
                                         request.rows() - 1, " LIMIT 1"),
                            where.params));
  if (rows.rows() == 0) return absl::OkStatus();
  for (int i = 0; i < rows.columns(); ++i) {
    response->mutable_key()->add_column(std::string(rows.value(0, i)));
  }
  return absl::OkStatus();
}

absl::Status HashRange(postgres::Connection& connection, const v1::HashRangeRequest& request,
                       v1::HashRangeResponse* response) {
  ASSIGN_OR_RETURN(const TableInfo table, LoadKeyed(connection, request.schema(), request.name()));
  ASSIGN_OR_RETURN(const Where where, InRange(table, request.range()));
  ASSIGN_OR_RETURN(
      const Result rows,
      connection.ExecParams(absl::StrCat("SELECT count(*), ", SumSql(RowHashSql(table)), " FROM ",
                                         FromSql(table), where.sql),
                            where.params));
  ASSIGN_OR_RETURN(const uint64_t count, ToUint64(rows.value(0, 0)));
  ASSIGN_OR_RETURN(const uint64_t hash, ToUint64(rows.value(0, 1)));
  response->set_rows(count);
  response->set_hash(hash);
  return absl::OkStatus();
}

absl::Status ReadRows(postgres::Connection& connection, const v1::ReadRowsRequest& request,
                      v1::ReadRowsResponse* response) {
  ASSIGN_OR_RETURN(const TableInfo table, LoadKeyed(connection, request.schema(), request.name()));
  return request.keys_size() > 0 ? ReadKeys(connection, table, request, response)
                                 : ReadRange(connection, table, request, response);
}

}  // namespace bdr::agent
