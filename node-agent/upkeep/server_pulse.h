// The local server's clock and WAL, read every few milliseconds and told to whoever goes by them;
// and a small commit where the WAL does not move on by itself.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/lsn.h"
#include "node-agent/capture/capture.h"
#include "node-agent/clocks/clocks.h"
#include "node-agent/positions/positions.h"
#include "postgres/connection.h"

namespace bdr::agent {

// Not thread-safe: belongs to the watcher's thread.
class ServerPulse {
 public:
  struct Beat {
    Pulse pulse;
    uint64_t oldest_xid = 0;  // that runs; of 64 bits, a row's xmin has the lower half
    uint64_t next_xid = 0;
  };

  // What is pointed to outlives it.
  ServerPulse(const Positions& positions, const Clocks& clocks, Capture* capture)
      : progress_(positions.progress), stable_xid_(clocks.stable_xid), capture_(capture) {}

  // Reads them, and tells capture, progress and the stable xid. Errors as Connection::Exec();
  // kInternal if the answer is none.
  absl::StatusOr<Beat> Read(postgres::Connection* connection);

  // Commits something small if what was written some time ago is still not flushed. Errors as
  // Connection::Exec().
  absl::Status FlushIfStuck(const Pulse& pulse, postgres::Connection* connection);

 private:
  Progress* const progress_;
  StableXid* const stable_xid_;
  Capture* const capture_;
  Lsn unflushed_;  // what had been written at `unflushed_since_` and is not flushed yet
  absl::Time unflushed_since_;
};

}  // namespace bdr::agent
