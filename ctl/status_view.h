// What `bdrctl status` and `bdrctl node show` make of the servers' answer: pure, so that every
// verdict can be tested.
//
// The verdict: critical if any part of any node says so, or a node has not reported for 5 seconds;
// warning if any part says so, a node is still joining, or a link that should be there is not; good
// otherwise. It is the exit code.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "ctl/output.h"

namespace bdr::v1 {
class ClusterStatusResponse;
}

namespace bdr::ctl {

// Agents report every second: a few may be lost.
inline constexpr absl::Duration kSilenceIsCritical = absl::Seconds(5);
// An agent that is refused comes again every 5 s.
inline constexpr absl::Duration kRefusalIsShown = absl::Seconds(15);

struct StatusView {
  int exit_code = 0;  // kGood, kWarning or kCritical
  Output output;
};

StatusView ViewCluster(const v1::ClusterStatusResponse& status);

// One member, which must exist, with everything that it reported.
Output ViewNode(const v1::ClusterStatusResponse& status, const std::string& name);

// The longest that a change takes now to be applied everywhere, as far as it is known.
absl::Duration LongestLag(const v1::ClusterStatusResponse& status);

// True if every node reports, and nothing that was written anywhere is still under way.
bool IsQuiet(const v1::ClusterStatusResponse& status);

}  // namespace bdr::ctl
