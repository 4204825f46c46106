// A node that comes with an empty data folder must have no past: it would go on at the present, and
// skip what it has missed.
#pragma once

#include "absl/status/status.h"
#include "node-agent/cluster/membership.h"
#include "node-agent/positions/applied_position.h"

namespace bdr::agent {

// kFailedPrecondition, with what to do, if bdr-server knows of a past of this member.
absl::Status CheckNoPastOf(const Member& member);

// kFailedPrecondition, with what to do: the database says that it has a past, this position.
absl::Status DatabaseHasAPast(const AppliedPosition& position);

}  // namespace bdr::agent
