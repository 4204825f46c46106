#include "base/pace.h"

#include <algorithm>

namespace bdr {

absl::Duration Rest(const Pace& pace, uint64_t rows, absl::Duration took) {
  absl::Duration rest;
  if (pace.rows_per_second > 0) {
    rest =
        absl::Seconds(static_cast<double>(rows) / static_cast<double>(pace.rows_per_second)) - took;
  }
  if (pace.load_percent > 0 && pace.load_percent < 100) {
    rest = std::max(rest, took * (100 - pace.load_percent) / pace.load_percent);
  }
  return std::max(rest, absl::ZeroDuration());
}

}  // namespace bdr
