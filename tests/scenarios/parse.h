// Reads the text form of a scenario (docs/scenarios.md).
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tests/scenarios/scenario.h"

namespace bdr::scenarios {

// `file` is for messages. kInvalidArgument "file:line: what is wrong, and what would be right" at
// the first line that is not understood; nothing is passed over.
absl::StatusOr<Scenario> Parse(const std::string& file, absl::string_view text);

}  // namespace bdr::scenarios
