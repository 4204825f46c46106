// Plays many schedules, on several threads, until one goes wrong.
#pragma once

#include <cstdint>
#include <optional>

#include "tests/model/schedule.h"

namespace bdr::model {

struct Search {
  uint64_t first_seed = 1;
  uint64_t schedules = 1000;
  Rule broken = Rule::kNone;
  int threads = 1;
};

struct Found {
  uint64_t seed = 0;
  Outcome outcome;  // of the shortest schedule with that seed
};

// The failure with the lowest seed, whatever the threads; nullopt if all went well.
std::optional<Found> FindFailure(const Search& search);

}  // namespace bdr::model
