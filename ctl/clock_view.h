// What `bdrctl clock` shows and asks for, as pure functions of the cluster's status.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ctl/output.h"

namespace bdr::v1 {
class ClusterStatusResponse;
}

namespace bdr::ctl {

// Every node's clock, how far the others' are ahead of it, and what is held for that.
Output ViewClocks(const v1::ClusterStatusResponse& status);

// What accepting the clock of a node comes down to.
struct ClockStep {
  std::string node;
  int64_t ceiling_us = 0;  // its newest change that anybody knows, µs since 1970
  int64_t ahead_us = 0;    // how far that is ahead of the other clocks
  int64_t advance_us = 0;  // to be added to every server's clock, so that it is past that
  std::vector<std::string> silent = {};  // nodes that do not report now
};
// kNotFound if there is no such node; kFailedPrecondition if nothing of it is ahead of the clocks,
// or no node tells what time it is.
absl::StatusOr<ClockStep> PlanClockStep(const v1::ClusterStatusResponse& status,
                                        const std::string& node);

// What it costs, said before it is done.
std::string ClockStepCosts(const ClockStep& step);

// "+350 ms", "-5.2 s", "+3652 days".
std::string SignedDuration(int64_t us);

}  // namespace bdr::ctl
