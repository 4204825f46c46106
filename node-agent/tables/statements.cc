#include "node-agent/tables/statements.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bdr::agent {

namespace {

// Behind a table's id. Those of OtherStatement follow a '/'.
enum class Kind : char {
  kUpdate = 'U',
  kCheckedUpdate = 'u',
  kReplace = 'R',
  kCheckedReplace = 'r',
  kInsert = 'i',
  kPlainInsert = 'p',
  kRewrite = 'W',
  kDelete = 'D',
  kCheckedDelete = 'd',
  kFind = 'f',
  kFindLocked = 'l',
  kFindWhole = 'w',
  kFetchColumns = 't',
  kLockTable = 'k',
};

// Of a table's columns the number is always the same, so four can share a digit.
std::string Name(const BoundTable& table, Kind kind, const std::vector<bool>& shape = {}) {
  std::string name = absl::StrCat("b", table.id());
  name.push_back(static_cast<char>(kind));
  for (size_t i = 0; i < shape.size(); i += 4) {
    int digit = 0;
    for (size_t j = i; j < std::min(i + 4, shape.size()); ++j) {
      digit = digit * 2 + (shape[j] ? 1 : 0);
    }
    name.push_back("0123456789abcdef"[digit]);
  }
  return name;
}

}  // namespace

Statement UpdateStatement(const BoundTable& table, const std::vector<bool>& set, bool checked) {
  return {Name(table, checked ? Kind::kCheckedUpdate : Kind::kUpdate, set),
          [&table, set, checked] { return table.UpdateSql(set, checked); }};
}

Statement ReplaceStatement(const BoundTable& table, const std::vector<bool>& set, bool checked) {
  return {Name(table, checked ? Kind::kCheckedReplace : Kind::kReplace, set),
          [&table, set, checked] { return table.ReplaceSql(set, checked); }};
}

Statement InsertStatement(const BoundTable& table) {
  return {Name(table, Kind::kInsert), [&table] { return table.InsertSql(/*checked=*/true); }};
}

Statement PlainInsertStatement(const BoundTable& table, const std::vector<bool>& given) {
  return {Name(table, Kind::kPlainInsert, given),
          [&table, given] { return table.PlainInsertSql(given); }};
}

Statement RewriteStatement(const BoundTable& table, const std::vector<bool>& kept) {
  return {Name(table, Kind::kRewrite, kept), [&table, kept] { return table.RewriteSql(kept); }};
}

Statement DeleteStatement(const BoundTable& table, bool checked) {
  return {Name(table, checked ? Kind::kCheckedDelete : Kind::kDelete),
          [&table, checked] { return table.DeleteSql(checked); }};
}

Statement FindStatement(const BoundTable& table, bool lock) {
  return {Name(table, lock ? Kind::kFindLocked : Kind::kFind),
          [&table, lock] { return table.FindSql(lock, /*with_rows=*/true); }};
}

Statement FindWholeStatement(const BoundTable& table) {
  return {Name(table, Kind::kFindWhole), [&table] { return table.FindWholeSql(); }};
}

Statement FetchColumnsStatement(const BoundTable& table, const std::vector<bool>& columns) {
  return {Name(table, Kind::kFetchColumns, columns), [&table, columns] {
            std::vector<int> chosen;
            for (size_t i = 0; i < columns.size(); ++i) {
              if (columns[i]) chosen.push_back(static_cast<int>(i));
            }
            return table.FetchColumnsSql(chosen);
          }};
}

Statement LockTableStatement(const BoundTable& table) {
  return {Name(table, Kind::kLockTable),
          [&table] { return absl::StrCat("LOCK TABLE ", table.Only(), " IN ROW EXCLUSIVE MODE"); }};
}

Statement MakeStatement(const BoundTable& table, OtherStatement what,
                        std::function<std::string()> sql, uint64_t number) {
  return {absl::StrCat("b", table.id(), "/", static_cast<int>(what), "/", number), std::move(sql)};
}

Statement MakeStatement(std::string sql, absl::Span<const uint32_t> types) {
  std::string name = sql;
  for (const uint32_t type : types) absl::StrAppend(&name, " ", type);
  return {std::move(name), [sql = std::move(sql)] { return sql; }};
}

absl::StatusOr<std::vector<std::string>> KeyParams(const BoundTable& table,
                                                   absl::Span<const LocalRow* const> rows) {
  std::vector<std::string> params;
  for (size_t i = 0; i < table.key_columns(); ++i) {
    ASSIGN_OR_RETURN(std::string param, table.EncodeKeyColumn(i, rows));
    params.push_back(std::move(param));
  }
  return params;
}

absl::StatusOr<std::vector<std::string>> RowParams(const BoundTable& table,
                                                   absl::Span<const LocalRow* const> rows,
                                                   std::vector<std::string> between) {
  std::vector<std::string> params;
  ASSIGN_OR_RETURN(std::string encoded, table.EncodeRows(rows));
  params.push_back(std::move(encoded));
  std::move(between.begin(), between.end(), std::back_inserter(params));
  for (const int column : table.columns_beside()) {
    ASSIGN_OR_RETURN(std::string beside, table.EncodeColumn(column, rows));
    params.push_back(std::move(beside));
  }
  return params;
}

}  // namespace bdr::agent
