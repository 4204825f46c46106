// What a node costs while nothing happens.
#pragma once

#include "absl/status/status.h"

namespace bdr::bench {

struct IdleSettings {
  int seconds = 20;          // of each measurement
  int transactions = 20000;  // of the load between the two
};

// Two nodes: what each agent and bdr-server take of a core and write to disk, fresh and after a
// load. Prints a table.
absl::Status MeasureIdle(const IdleSettings& settings);

}  // namespace bdr::bench
