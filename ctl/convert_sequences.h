// Bringing many sequences to a method, one after the other.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ctl/command.h"
#include "ctl/rpc.h"
#include "ctl/sequence_conversion.h"
#include "ctl/sequence_nodes.h"

namespace bdr::ctl {

// Each of `sequences`, whatever sequence `wish` names, on all nodes before the next. Says what was
// done as it goes on: a line each, or one array at the end for programs. The first error ends it,
// and says what was done and what was not; the same call goes on there. With `dry_run` nothing is
// changed.
absl::StatusOr<int> ConvertSequences(const Invocation& invocation, const Server& server,
                                     const SequenceWish& wish, bool dry_run,
                                     const std::vector<std::string>& sequences,
                                     std::vector<SequenceNode>& nodes);

}  // namespace bdr::ctl
