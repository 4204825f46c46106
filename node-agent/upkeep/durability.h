// How what was applied here becomes durable here: the positions that peers may trim their logs by.
//
// Applied is not yet durable: appliers commit without waiting for the WAL, and received blocks are
// synced in the background. A position counts as durable once the server has flushed past the
// commit that it came with, and the change log and the stores are synced after that.
#pragma once

#include "absl/status/status.h"
#include "base/lsn.h"
#include "node-agent/changelog/stores.h"
#include "node-agent/clocks/clocks.h"
#include "node-agent/inflight/in_flight.h"
#include "node-agent/positions/positions.h"
#include "postgres/connection.h"

namespace bdr::agent {

// Not thread-safe: belongs to the watcher's thread.
class Durability {
 public:
  // What is pointed to outlives it.
  Durability(const Stores& stores, const Positions& positions, const Clocks& clocks,
             const InFlight& in_flight)
      : stores_(stores), positions_(positions), clocks_(clocks), in_flight_(in_flight) {}

  // To be called with each new connection: the server may have been restarted, without what it had
  // not flushed. Errors as Connection::Exec().
  absl::Status Restart(postgres::Connection* connection);

  // The server has flushed through there. Errors as Database::Write(): nothing counts as durable
  // then that did not before.
  absl::Status Flushed(Lsn flush_lsn);

  // Own changes that were merged again, as written down.
  Lsn merged() const { return merged_; }

 private:
  const Stores stores_;
  const Positions positions_;
  const Clocks clocks_;
  const InFlight in_flight_;
  Lsn merged_;
};

}  // namespace bdr::agent
