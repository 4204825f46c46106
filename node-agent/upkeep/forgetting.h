// Forgets what is stable: versions, claims and blocks that nothing can arrive for any more.
//
// Stable is earlier than the promise of every member applied through here, and durable everywhere.
// What has become stable says Progress; here it is told to who keeps such things.
#pragma once

#include "absl/status/status.h"
#include "base/lsn.h"
#include "node-agent/capture/capture.h"
#include "node-agent/changelog/stores.h"
#include "node-agent/clocks/clocks.h"
#include "node-agent/inflight/in_flight.h"
#include "node-agent/positions/positions.h"
#include "node-agent/upkeep/history_sweeper.h"

namespace bdr::agent {

// Not thread-safe: belongs to the watcher's thread.
class Forgetting {
 public:
  // What is pointed to outlives it.
  Forgetting(const Stores& stores, const Positions& positions, const Clocks& clocks,
             const InFlight& in_flight, const Capture* capture)
      : stores_(stores),
        positions_(positions),
        clocks_(clocks),
        capture_(capture),
        sweeper_(stores.database, stores.fold_history, in_flight.keys) {}

  // `merged`: own changes that were merged again, as written down. Errors as Database::Write().
  absl::Status Forget(Lsn merged);

 private:
  const Stores stores_;
  const Positions positions_;
  const Clocks clocks_;
  const Capture* const capture_;
  HistorySweeper sweeper_;
};

}  // namespace bdr::agent
