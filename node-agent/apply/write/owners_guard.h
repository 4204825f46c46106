// Keeps code of tables' owners from running with the agent's rights (postgres/owners_code.h).
#pragma once

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "node-agent/apply/session/pipe.h"
#include "node-agent/tables/bound_table.h"

namespace bdr::agent {

// Once the tables are locked, and before any statement that writes them is queued:
// kPermissionDenied if one has code that is not trusted. Queues a statement that fails, and with it
// all that is queued behind it, where one of them has other code than when it was looked up.
absl::Status GuardOwnersCode(Pipe* pipe, absl::Span<const BoundTable* const> tables);

}  // namespace bdr::agent
