#include "node-agent/tables/statements.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bdr::agent {

std::string StatementName(const BoundTable& table, absl::string_view kind,
                          const std::vector<bool>& shape) {
  std::string name = absl::StrCat("b", table.id(), kind);
  for (size_t i = 0; i < shape.size(); i += 4) {
    int digit = 0;
    for (size_t j = i; j < std::min(i + 4, shape.size()); ++j) {
      digit = digit * 2 + (shape[j] ? 1 : 0);
    }
    name.push_back("0123456789abcdef"[digit]);
  }
  return name;
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
