// What an applier is configured with, and what all appliers of an agent share.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/lsn.h"
#include "base/metrics.h"
#include "base/origin.h"
#include "node-agent/apply/letters/dead_letters.h"
#include "node-agent/apply/plan/group_claims.h"
#include "node-agent/apply/plan/row_source.h"
#include "node-agent/changelog/stores.h"
#include "node-agent/clocks/clocks.h"
#include "node-agent/cluster/settings.h"
#include "node-agent/inflight/in_flight.h"
#include "node-agent/positions/positions.h"
#include "node-agent/tables/claim_reader.h"
#include "node-agent/tables/table_cache.h"

namespace bdr::agent {

struct ApplyOptions {
  std::string conninfo;
  std::string origin_name = {};  // of the node whose changes are applied, for people
  size_t group_max_transactions = 500;
  size_t group_max_bytes = 4 << 20;
  absl::Duration group_max_time = absl::Milliseconds(200);
  bool puts_aside = false;  // what cannot be applied, rather than stop
  bool forwards_foreign_origins = false;
  // Without progress for that long, while changes wait, status warns and tells what is being done.
  absl::Duration stall_warning = absl::Seconds(30);
  Histogram group_transactions = {};  // of each group: how many transactions
  Histogram group_seconds = {};       // and how long it took
  // Set for the one applier that merges this node's own changes again: where they come from, in
  // place of the change log.
  OwnChanges* own_changes = nullptr;
  // Own transactions in this part of the own log count as touched, since a crash may have taken
  // what was known of them.
  Lsn replay_after = {};
  Lsn replay_through = {};
};

// Everything in it outlives the appliers.
struct ApplyParts {
  Stores stores;
  Positions positions;
  Clocks clocks;
  InFlight in_flight;
  TableCache* tables = nullptr;
  Settings* settings = nullptr;
  DeadLetters* dead_letters = nullptr;
  RowSource* rows = nullptr;  // of the other members
  // Waits until every applier has rebuilt its part of the version store; `origin` has now.
  std::function<bool(OriginId origin, absl::Duration timeout)> versions_rebuilt = nullptr;
  // What to do about foreign keys that are orphaned was queued.
  std::function<void()> foreign_keys_queued = nullptr;
  // PostgreSQL has lost commits of this origin: its applier must begin again.
  std::function<void(OriginId origin)> rewound = nullptr;
  // The columns that a node generates in a table, as far as is known. Null: nothing is.
  std::function<std::vector<std::string>(NodeId node, absl::string_view schema,
                                         absl::string_view table)>
      generated_at = nullptr;
  CountsClaim counts_claim = nullptr;  // null: every claim counts
};

}  // namespace bdr::agent
