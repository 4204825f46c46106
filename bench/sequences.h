// What ids of each sequence access method cost beside PostgreSQL's own nextval().
#pragma once

#include "absl/status/status.h"
#include "bench/figures.h"

namespace bdr::bench {

struct SequenceSettings {
  int rounds = 60;
  int milliseconds = 50;  // of each turn; a round has one for each contestant
};

// One server of its own, with fsync, one session that commits with synchronous_commit=off, and no
// agent. Turns are short, and each is compared with PostgreSQL's own just before, so that a machine
// that is busy for a while slows all contestants alike. Prints medians of the rates and of the
// ratios.
absl::Status MeasureSequences(const SequenceSettings& settings, Figures* figures);

}  // namespace bdr::bench
