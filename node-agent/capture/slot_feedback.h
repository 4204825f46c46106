// What the server is told of how far capture is: the one place that decides what may be confirmed.
//
// PostgreSQL forgets WAL up to the position that was confirmed, and never sends it again. So only
// what is durable in the change log may be confirmed.
#pragma once

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/lsn.h"
#include "node-agent/positions/applied_history.h"
#include "postgres/replication.h"

namespace bdr::agent {

// Not thread-safe: belongs to a session of capture.
class SlotFeedback {
 public:
  // `start`: the position that the stream was asked for. Both pointers outlive it.
  SlotFeedback(postgres::ReplicationConnection* connection, AppliedHistory* history, Lsn start)
      : connection_(connection), history_(history), confirmed_(start) {}

  // Everything before `through` is durable in the change log.
  void Durable(Lsn through) { confirmed_ = through; }
  Lsn confirmed() const { return confirmed_; }

  // The server takes who is silent for too long for gone.
  bool IsDue() const;
  // Errors as SendStatus().
  absl::Status Send(bool request_reply);

 private:
  postgres::ReplicationConnection* const connection_;
  AppliedHistory* const history_;
  Lsn confirmed_;
  absl::Time sent_ = absl::InfinitePast();
};

}  // namespace bdr::agent
