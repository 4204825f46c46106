// The only writer of bdr.conflict_log: its columns, and what stands in them, are written down here
// and nowhere else.
//
// Lines are written in the transaction that makes what they tell of visible, so each is there
// exactly if that is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/lsn.h"
#include "base/origin.h"
#include "conflict/conflict_kind.h"
#include "conflict/stamp.h"
#include "conflict/version_store.h"
#include "node-agent/apply/session/pipe.h"
#include "node-agent/tables/bound_table.h"

namespace bdr::agent {

// A conflict over one row.
struct RowConflict {
  conflict::ConflictKind kind = conflict::ConflictKind::kNone;
  conflict::Winner winner = conflict::Winner::kRemote;
  conflict::Rule rule = conflict::Rule::kNone;
  const LocalRow* key = nullptr;  // with the key's columns
  // What was met here. Unset and "" where nothing is known of it, or nothing stood there.
  std::optional<conflict::Version> local = {};
  std::string local_row = {};  // jsonb
  // What came: null if it was a delete.
  const LocalRow* row = nullptr;
  int64_t stamp_us = 0;
  Lsn end_lsn;
  // Up to when its transaction had seen the commits of `local`'s node; INT64_MAX: for ever.
  int64_t seen_us = 0;
};

// Not thread-safe. Queues lines on the pipe, which outlives it.
class ConflictLog {
 public:
  // `origin`: whose changes came.
  ConflictLog(Pipe* pipe, OriginId origin) : pipe_(pipe), origin_(origin) {}

  // All of one table. What they point to may go away afterwards.
  absl::Status Add(const BoundTable& table, absl::Span<const RowConflict> conflicts);

  // A truncate met rows that its origin had not seen: so many died, so many stay. Counts and not
  // rows: there may be millions.
  absl::Status AddTruncate(const BoundTable& table, conflict::Stamp stamp, Lsn end_lsn,
                           int64_t removed, int64_t kept);

 private:
  absl::Status AddSome(const BoundTable& table, absl::Span<const RowConflict> conflicts);

  Pipe* const pipe_;
  const OriginId origin_;
};

// Of what ConflictLog::Add() sends: a table's statement, and its parameters, all of binary arrays.
std::string RowConflictsSql(const BoundTable& table);
absl::StatusOr<std::vector<std::string>> RowConflictsParams(
    const BoundTable& table, OriginId origin, absl::Span<const RowConflict> conflicts);

// --- for lines that are made within a larger statement ---

// What stands in each column, as an SQL expression; "" leaves it NULL.
struct ConflictLine {
  std::string relation;
  std::string kind;  // see Word()
  std::string key = {};
  std::string local_row = {};
  std::string remote_row = {};
  std::string local_stamp = {};
  std::string local_node = {};
  std::string remote_stamp = {};
  std::string remote_node = {};
  std::string winner;
  std::string rule;
  std::string remote_seen = {};
  std::string local_lsn = {};
  std::string local_incarnation = {};
  std::string remote_lsn = {};
  std::string remote_incarnation = {};
  std::string remote_absent = {};
  std::string constraint_name = {};
};

// "INSERT INTO bdr.conflict_log (...) SELECT ...", behind which a FROM or WHERE may follow.
std::string InsertConflictSql(const ConflictLine& line);

// A word as a literal. Not of a rule that is told in words.
template <typename Enum>
std::string Word(Enum word) {
  return absl::StrCat("'", conflict::ToString(word), "'");
}

// timestamptz of an expression of µs since 1970.
std::string TimeOfMicros(absl::string_view us);

}  // namespace bdr::agent
