// Plays a scenario on PostgreSQL servers and agents of its own, and says what did not hold.
#pragma once

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/scenarios/scenario.h"

namespace bdr::scenarios {

// What did not hold, "file:line: what, and what was found instead", in the order of the steps;
// empty if all did. After an expectation that does not hold the rest is played, after a step that
// cannot be done it is not. `trace` is told of each step as it begins. Errors are those of starting
// the nodes.
absl::StatusOr<std::vector<std::string>> Play(const Scenario& scenario, std::ostream& trace);

// The number of entries of bdr.conflict_log that are as `logged` says.
std::string CountLoggedSql(const Logged& logged);

}  // namespace bdr::scenarios
