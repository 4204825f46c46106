// Values that were not written, since their column or table is gone, in bdr.conflict_log.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "base/origin.h"
#include "node-agent/apply/plan/group_plan.h"
#include "node-agent/apply/session/pipe.h"
#include "node-agent/apply/write/group_executor.h"

namespace bdr::agent {

// Queues a row for each change of `origin` in the plan, in the local transaction that is open. The
// values are kept as text; as hexadecimal digits of their binary form where the type may be another
// here; of very large ones only their size. No value can make the statement fail.
absl::Status QueueGone(const GroupPlan& plan, OriginId origin, Pipe* pipe, ConflictCounts* counts);

}  // namespace bdr::agent
