// What an administrator has said was done to tables by hand: a column dropped or renamed, a table
// dropped, renamed or moved. Changes of rows from before it come under names that are gone here,
// and are written by what became of them.
//
// A transaction's header tells which version of the cluster's settings its origin went by. What was
// said at a later version may have been done after that transaction, so the names in it may be old;
// from that version on they are new: it comes into force only once every node's tables are as it
// says, and all that was captured before is known. That is how a name which is used again is told
// from the old one.
//
// Pure: what exists here comes in as functions. What cannot be told is refused rather than guessed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace bdr::agent {

// bdr.v1.TableChange.
struct TableChange {
  enum class Kind { kColumnDropped, kColumnRenamed, kTableDropped, kTableRenamed, kSchemaRenamed };
  Kind kind = Kind::kColumnDropped;
  uint64_t version = 0;  // of the setting
  std::string schema = {};
  std::string table = {};       // not of kSchemaRenamed
  std::string column = {};      // of columns
  std::string new_schema = {};  // of what was renamed, as is the rest
  std::string new_table = {};
  std::string new_column = {};

  // As it is said to bdrctl: "column-dropped public.item price".
  std::string ToString() const;
  friend bool operator==(const TableChange&, const TableChange&) = default;
};
// The value of a setting "table_change/...". kDataLoss if it is damaged, kUnimplemented for a kind
// that this program does not know.
absl::StatusOr<TableChange> ParseTableChange(absl::string_view value, uint64_t version);

using TableName = std::pair<std::string, std::string>;  // schema, name

// When a change of rows was made.
struct MadeAt {
  uint64_t settings_version = 0;
  int64_t stamp_us = 0;
};

// Up to which of those an answer holds: it was asked for one of them, and is the same for all.
struct AnswerHolds {
  uint64_t from_version = 0;
  uint64_t before_version = UINT64_MAX;
  int64_t from_us = INT64_MIN;
  int64_t before_us = INT64_MAX;

  bool Covers(const MadeAt& at) const {
    return at.settings_version >= from_version && at.settings_version < before_version &&
           at.stamp_us >= from_us && at.stamp_us < before_us;
  }
};

// Whether there is something of that name here, and when it was made (µs since 1970; 0: long ago).
// The second is asked only where names alone do not tell.
struct NamesHere {
  std::function<absl::StatusOr<bool>(const TableName&)> has_table;
  std::function<absl::StatusOr<int64_t>(const TableName&)> table_made_us;
};
struct ColumnsHere {
  std::function<bool(const std::string&)> has_column;
  std::function<absl::StatusOr<int64_t>(const std::string&)> column_made_us;
};

struct FoundName {
  enum class Outcome {
    kHere,    // under `name`
    kGone,    // it was dropped
    kNotHere  // nobody has said what became of it
  };
  Outcome outcome = Outcome::kHere;
  std::string name = {};
  const TableChange* by = nullptr;  // of kGone: what says so
};
struct FoundTable {
  FoundName::Outcome outcome = FoundName::Outcome::kHere;
  TableName name = {};
  std::vector<TableName> names = {};  // it had or has all of these
  const TableChange* by = nullptr;
};

// Which table here is meant by a name in a change that was made at `at`. Narrows `holds`.
// `changes` by version. kFailedPrecondition if that cannot be told.
absl::StatusOr<FoundTable> FindTableName(const TableName& name, const MadeAt& at,
                                         absl::Span<const TableChange> changes,
                                         const NamesHere& here, AnswerHolds* holds);
// Likewise a column of the table which had these names.
absl::StatusOr<FoundName> FindColumnName(const std::string& column,
                                         absl::Span<const TableName> table, const MadeAt& at,
                                         absl::Span<const TableChange> changes,
                                         const ColumnsHere& here, AnswerHolds* holds);

}  // namespace bdr::agent
