// The node's replication slot: where capture goes on, and how it begins.
//
// The slot keeps what is not captured yet, and the change log keeps the rest. Between the two there
// must be no gap: PostgreSQL starts a stream at the slot's own position if it is asked for an
// earlier one, and says nothing. So both are compared before each stream, and what does not fit is
// refused.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/lsn.h"
#include "node-agent/capture/capture_options.h"
#include "node-agent/capture/capture_state.h"
#include "node-agent/capture/capture_waits.h"
#include "node-agent/capture/captured_state.h"
#include "postgres/connection.h"

namespace bdr::agent {

// Not thread-safe: belongs to capture's thread.
class Slot {
 public:
  struct Position {
    Lsn start;  // everything before is in the change log
    CapturedState captured;
  };

  // All outlive it. `health` shows when a slot is being created.
  Slot(const CaptureOptions* options, const CaptureParts* parts, CaptureWaits* waits,
       CaptureHealth* health)
      : options_(*options), parts_(*parts), waits_(waits), health_(health) {}

  // Where to go on: never before what the log holds, never behind what the slot has let go. Creates
  // the slot if this node has captured nothing yet, and waits for the transactions that run.
  // kFailedPrecondition if slot and log do not fit, or the server was set back: repeating cannot
  // help. kUnavailable if the server cannot be asked, or with Stop().
  absl::StatusOr<Position> Find();

 private:
  struct Row {  // of pg_replication_slots
    std::string confirmed;
    bool lost = false;
  };
  absl::StatusOr<ServerPast::Told> CheckPast(postgres::Connection* sql);
  absl::StatusOr<std::optional<Row>> Look(postgres::Connection* sql);
  absl::Status DropUnfinished(postgres::Connection* sql);
  absl::Status Create();

  const CaptureOptions& options_;
  const CaptureParts& parts_;
  CaptureWaits* const waits_;
  CaptureHealth* const health_;
};

}  // namespace bdr::agent
