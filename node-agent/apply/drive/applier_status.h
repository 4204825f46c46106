// What an applier tells of itself.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "base/health.h"
#include "base/origin.h"
#include "conflict/row_rule.h"
#include "node-agent/apply/session/applier_state.h"

namespace bdr::agent {

struct ApplierStatus {
  Health health;  // its word is the state's
  ApplierState state = ApplierState::kConnecting;
  OriginId held_by;             // whose transactions it waits for; node 0: nobody's
  int64_t oldest_stamp_us = 0;  // of what is not applied yet; 0: nothing is
  int64_t held_us = 0;          // how far that is ahead of the clock, if it is held for it
  uint64_t transactions = 0;
  uint64_t changes = 0;
  uint64_t retries = 0;
  uint64_t errors = 0;
  uint64_t orphans = 0;       // rows found that reference nothing
  uint64_t fetched_rows = 0;  // rows whose large values came from another node
  uint64_t fetch_waits = 0;   // how often no node could be asked for them
  std::map<conflict::ConflictKind, uint64_t> conflicts;
  // By table and kind; of tables that come after the first few hundred under "other".
  std::map<std::pair<std::string, std::string>, uint64_t> table_conflicts;
};

}  // namespace bdr::agent
