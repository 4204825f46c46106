// Reading bdr.conflict_log.
#pragma once

#include "absl/status/statusor.h"
#include "postgres/connection.h"

namespace bdr::v1 {
class Conflict;
class ListConflictsRequest;
class ListConflictsResponse;
}  // namespace bdr::v1

namespace bdr::agent {

// The newest first, at most request.limit() (100 if it is not set, 100000 in any case).
absl::Status ListConflicts(postgres::Connection& connection,
                           const v1::ListConflictsRequest& request,
                           v1::ListConflictsResponse* response);

// kNotFound if it never was, or was dropped because of its age.
absl::Status GetConflict(postgres::Connection& connection, int64_t id, v1::Conflict* conflict);

}  // namespace bdr::agent
