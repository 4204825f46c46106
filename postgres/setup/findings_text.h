// Findings as a person reads them: the same whoever looked, bdrctl or the agent itself.
#pragma once

#include <string>
#include <vector>

#include "postgres/setup/node_check.h"

namespace bdr::pg_setup {

struct Checked {
  std::string what;  // "node eu1", or "database"
  std::vector<Finding> findings;
};

const char* LevelName(Finding::Level level);  // "ok", "warning" or "error"

// "node eu1: 1 error, 3 warnings, 41 good", then a line for each finding and one for its remedy.
// Good ones only with `with_good`.
std::string FindingsText(const Checked& checked, bool with_good);

}  // namespace bdr::pg_setup
