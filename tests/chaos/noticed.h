// What cannot go on must be noticed: a replication slot that is gone, a data folder that is gone or
// comes from the past. The agent must not go on as if nothing had happened, and must say what it
// is.
#pragma once

#include "absl/status/status.h"

namespace bdr::chaos {

// Plays each on a cluster of its own, with users who write before and after. kDataLoss names what
// was not noticed.
absl::Status CheckAllNoticed();

}  // namespace bdr::chaos
