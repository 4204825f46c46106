// Rows that a statement of apply was given and did not write.
//
// Once rows are found and locked, a statement that writes fewer of them than it was given met one
// of two things: somebody made a row in between, which the next attempt sees; or the table itself
// leaves the row out: a trigger BEFORE the change, enabled ALWAYS or for REPLICA, returned NULL, or
// a rule did something else instead. PostgreSQL calls both a success. The latter never goes away by
// itself, so attempts are counted, and in the end the trigger is looked for and named: the row is
// refused, as by a CHECK that fails. Were the count not compared, the row would be lost in silence.
#pragma once

#include <cstddef>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "node-agent/apply/session/pipe.h"
#include "postgres/catalog.h"

namespace bdr::agent {

// What the statement does to rows, as bits: a cause is looked for among the triggers of these.
enum WriteKind : unsigned {
  kInsertsRows = 4,  // as in pg_trigger.tgtype
  kDeletesRows = 8,
  kUpdatesRows = 16,
};

// kAborted: roll back and come again; IsLeftOut() tells it from other such errors.
absl::Status LeftOut(const postgres::TableInfo& table, unsigned kinds);
bool IsLeftOut(const absl::Status& status);

// Handles the result of a statement that was given so many rows, and must have written each.
// `table` outlives it.
Pipe::Handler AllWritten(const postgres::TableInfo& table, unsigned kinds, size_t rows);

// As AllWritten(), for BoundTable::ReplaceSql().
Pipe::Handler AllReplaced(const postgres::TableInfo& table);

// For a LeftOut() that does not go away, after the rollback: kFailedPrecondition with the triggers
// and rules that may have left the row out, and what to do. kAborted if the table has none, so
// that nobody knows why. Otherwise the session's error. IsLeftOut() is true of all of them.
absl::Status ExplainLeftOut(const absl::Status& left_out, Pipe* pipe);

}  // namespace bdr::agent
