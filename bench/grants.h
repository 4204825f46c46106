// How many chunks a second bdr-server grants.
#pragma once

#include "absl/status/status.h"
#include "bench/figures.h"

namespace bdr::bench {

struct GrantSettings {
  int seconds = 5;  // of each turn
};

// One bdr-server with its embedded store, and two on three members of etcd, all with fsync. Askers
// do over gRPC what agents do, each asks again once it has its answer; all for one sequence, or
// each for one of its own. An answer that says "try again" counts as refused. Leaves etcd out, with
// a line, if it is not installed.
absl::Status MeasureGrants(const GrantSettings& settings, Figures* figures);

}  // namespace bdr::bench
