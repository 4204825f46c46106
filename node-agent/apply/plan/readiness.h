// Whether the next transaction of an origin may be applied now, and if not, what it waits for.
//
// Pure: what is known comes in as values. The order of the questions counts: what hinders longest
// and concerns the transaction alone comes first, the clock last, as it is asked again at BEGIN.
#pragma once

#include <cstdint>
#include <optional>

#include "base/origin.h"
#include "node-agent/clocks/clock_gate.h"

namespace bdr::agent {

struct ReadinessInput {
  // The whole transaction is in the change log. Begun before, it would hold its locks for as long
  // as the rest takes to come.
  bool complete = true;
  // What another origin committed before, and is not applied here yet (causal order).
  std::optional<OriginLsn> missing = std::nullopt;
  // The version of the cluster's settings that it was made under; those in force here; the newest
  // that this node knows.
  uint64_t made_under = 0;
  uint64_t active_settings = 0;
  uint64_t known_settings = 0;
};

enum class Readiness {
  kReady,            // but for the clock
  kWaitForRest,      // of the transaction itself
  kWaitForOrigin,    // input.missing
  kUnknownSettings,  // a node that lost its data is behind: it must reach bdr-server first
  kRaiseSettings,    // the settings that it was made under come into force here, then it is ready
};

inline Readiness Look(const ReadinessInput& input) {
  if (!input.complete) return Readiness::kWaitForRest;
  if (input.missing.has_value()) return Readiness::kWaitForOrigin;
  if (input.made_under <= input.active_settings) return Readiness::kReady;
  return input.made_under > input.known_settings ? Readiness::kUnknownSettings
                                                 : Readiness::kRaiseSettings;
}

}  // namespace bdr::agent
