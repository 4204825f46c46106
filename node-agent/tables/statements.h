// What the statements that read and write rows of a bound table have in common: their names, and
// what they are given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "node-agent/tables/bound_table.h"

namespace bdr::agent {

// Rows of one statement: enough that its cost does not count, few enough that a statement's
// parameters stay small.
inline constexpr size_t kRowsPerStatement = 1000;

// Types of parameters that PostgreSQL need not infer: the SQL casts each one.
inline const std::vector<uint32_t> kInferred;

// A statement, and the name under which a session prepares it once: never the same for two texts,
// or one would run in place of the other. So a name holds the table's id, what the statement is
// for, and whatever else its text depends on; bound_table_test.cc compares them all.
struct Statement {
  std::string name;
  std::function<std::string()> sql;  // made only where it is not prepared yet; refers to its table
};

// As BoundTable makes them.
Statement UpdateStatement(const BoundTable& table, const std::vector<bool>& set, bool checked);
Statement ReplaceStatement(const BoundTable& table, const std::vector<bool>& set, bool checked);
Statement InsertStatement(const BoundTable& table);  // checked
Statement PlainInsertStatement(const BoundTable& table, const std::vector<bool>& given);
Statement RewriteStatement(const BoundTable& table, const std::vector<bool>& kept);
Statement DeleteStatement(const BoundTable& table, bool checked);
Statement FindStatement(const BoundTable& table, bool lock);  // with rows
Statement FindWholeStatement(const BoundTable& table);
// Those whose values the row leaves alone.
Statement FetchColumnsStatement(const BoundTable& table, const std::vector<bool>& columns);
Statement LockTableStatement(const BoundTable& table);

// Statements about a table whose text others make; each value has one maker. `number`: whatever the
// text depends on beside the table.
enum class OtherStatement {
  kHolders,        // ClaimedTable; by constraint
  kLogConflicts,   // ConflictLog
  kMergeFunction,  // FoldExecutor; by version of the settings
  kShowRows,       // FoldExecutor
  kFetchRest,      // Truncater
};
Statement MakeStatement(const BoundTable& table, OtherStatement what,
                        std::function<std::string()> sql, uint64_t number = 0);

// A statement that is its own name; `types`: of its parameters.
Statement MakeStatement(std::string sql, absl::Span<const uint32_t> types = {});

// An array for each column of the key.
absl::StatusOr<std::vector<std::string>> KeyParams(const BoundTable& table,
                                                   absl::Span<const LocalRow* const> rows);
// The rows, then what stands `between`, then the columns beside the rows.
absl::StatusOr<std::vector<std::string>> RowParams(const BoundTable& table,
                                                   absl::Span<const LocalRow* const> rows,
                                                   std::vector<std::string> between);

}  // namespace bdr::agent
