// Writing the version that lost a conflict again.
//
// It is a local write like any user's: with triggers and constraints, captured, replicated, with a
// stamp of its own. So it wins against what stands there by being newer, on every node.
#pragma once

#include "absl/status/status.h"
#include "postgres/connection.h"

namespace bdr::v1 {
class UndoConflictRequest;
class UndoConflictResponse;
}  // namespace bdr::v1

namespace bdr::agent {

// Tells what would be done, or with request.apply() does it. `connection` is idle, with text forms
// pinned, without a replication origin. kNotFound without such a conflict or table.
// kFailedPrecondition, having written nothing: the row was written since and `force` is not set; it
// is not what was shown; the loser's row is not known as a whole (values that did not travel) and
// no row stands there to keep them; a value cannot be taken back from JSON as it was.
absl::Status UndoConflict(postgres::Connection& connection, const v1::UndoConflictRequest& request,
                          v1::UndoConflictResponse* response);

}  // namespace bdr::agent
