// What an attempt at a group could not be decided without.
//
// The attempt is rolled back, each of these is waited for with nothing locked, and the group comes
// again.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace bdr::agent {

// What was found at a key before waiting for capture: the row's xmin, or nothing. Once capture has
// passed that moment, the same xmin means that the transaction which wrote the row is captured.
using FoundBefore = absl::flat_hash_map<std::string, std::optional<std::string>>;

struct Needs {
  // Rows that were met and whose versions are not known, as a local commit has not been captured:
  // by version key, the xmin that was found.
  FoundBefore capture = {};
  // Keys in flight to be registered as well: of rows that hold what the group claims.
  std::vector<std::string> keys = {};
  // Large values that another node has (plan/missing_values.h knows which).
  bool values = false;

  bool empty() const { return capture.empty() && keys.empty() && !values; }
};

}  // namespace bdr::agent
