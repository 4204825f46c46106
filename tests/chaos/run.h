// One run: a cluster is started, users write, faults come and go, everything heals, and what must
// hold is checked.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/chaos/plan.h"

namespace bdr::chaos {

struct Outcome {
  std::vector<std::string> findings;  // none: all that must hold holds
  absl::Duration until_found;         // from the first write on
  std::string folder;                 // what was kept; empty if nothing was
  std::string summary;
};

// An error means that the run itself could not be had, which says nothing about the system.
absl::StatusOr<Outcome> RunOnce(const Plan& plan);

}  // namespace bdr::chaos
