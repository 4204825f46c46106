// How hard work that walks over many rows may be on a server.
#pragma once

#include <cstdint>

#include "absl/time/time.h"

namespace bdr {

// 0: no limit.
struct Pace {
  uint64_t rows_per_second = 0;
  uint32_t load_percent = 0;  // of the time
};

// How long to rest after work on `rows` rows that took `took`, so that neither limit is passed.
absl::Duration Rest(const Pace& pace, uint64_t rows, absl::Duration took);

}  // namespace bdr
