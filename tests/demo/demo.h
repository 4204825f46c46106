// The demo: several real PostgreSQL servers, each one written to at once, all ending equal.
#pragma once

#include "absl/status/status.h"
#include "tests/demo/options.h"

namespace bdr::demo {

// Builds the cluster, runs pgbench on all nodes at the same time, compares them, and leaves
// everything running. An error says what is missing, in the way, or different between nodes; a
// cluster that was built keeps running after an error too, so that it can be looked at.
absl::Status Run(const Options& options);

}  // namespace bdr::demo
