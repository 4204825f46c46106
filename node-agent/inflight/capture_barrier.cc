#include "node-agent/inflight/capture_barrier.h"

#include "base/status_macros.h"

namespace bdr::agent {

absl::Status CaptureBarrier::Pass(absl::Duration timeout) {
  Lsn mark;
  {
    MutexLock lock(&mu_);
    if (connection_ == nullptr || connection_->broken()) {
      ASSIGN_OR_RETURN(connection_, postgres::Connection::Connect(options_));
    }
    // A small transaction of its own, committed and flushed (no standby is waited for): everything
    // visible before lies before it in the WAL, and the walsender wakes at once instead of at the
    // WAL writer's next round.
    ASSIGN_OR_RETURN(
        const std::string lsn,
        connection_->QueryValue("SELECT pg_catalog.pg_logical_emit_message(true, 'bdr.mark', '')"));
    ASSIGN_OR_RETURN(mark, ParseLsn(lsn));
  }
  return wait_through_(mark, timeout);
}

}  // namespace bdr::agent
