// What the statements that read and write rows of a bound table have in common: their names, and
// what they are given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "node-agent/tables/bound_table.h"

namespace bdr::agent {

// Rows of one statement: enough that its cost does not count, few enough that a statement's
// parameters stay small.
inline constexpr size_t kRowsPerStatement = 1000;

// Types of parameters that PostgreSQL need not infer: the SQL casts each one.
inline const std::vector<uint32_t> kInferred;

// Of a prepared statement. `shape` as BoundTable::Settable() gives it, where the SQL depends on it.
std::string StatementName(const BoundTable& table, absl::string_view kind,
                          const std::vector<bool>& shape = {});

// An array for each column of the key.
absl::StatusOr<std::vector<std::string>> KeyParams(const BoundTable& table,
                                                   absl::Span<const LocalRow* const> rows);
// The rows, then what stands `between`, then the columns beside the rows.
absl::StatusOr<std::vector<std::string>> RowParams(const BoundTable& table,
                                                   absl::Span<const LocalRow* const> rows,
                                                   std::vector<std::string> between);

}  // namespace bdr::agent
