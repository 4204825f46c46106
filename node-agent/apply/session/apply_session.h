// One local transaction after the other, on behalf of an origin.
//
// An interface, so that what leans on it (the retry loop above all) can be tested with a session
// that follows a script. The real one is ServerSession.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/lsn.h"
#include "node-agent/inflight/keys_in_flight.h"

namespace bdr::agent {

// SQLSTATE of bdr.require_clock_past(): the server's clock has not passed a change's time.
inline constexpr absl::string_view kClockBehind = "BD001";

// Where a transaction of the origin ends, and its stamp.
struct CommittedAt {
  Lsn end_lsn;
  int64_t stamp_us = 0;
  // The origin has come that far: bdr.progress says so in the same transaction. Not for what had
  // been put aside, nor for own changes.
  bool moves_progress = false;
};

// Not thread-safe.
class ApplySession {
 public:
  virtual ~ApplySession() = default;

  // Queues the begin of a transaction that writes nothing stamped later than `newest_us`. What the
  // server says to it comes with the next answers: kClockBehind if its clock is not there yet.
  virtual absl::Status Begin(int64_t newest_us) = 0;
  // Ends it. After an error the session is broken() if nobody knows whether it was committed; if
  // not, it was not, and Rollback() is due. Keys in flight go with the commit.
  virtual absl::Status Commit(const CommittedAt& last, KeysInFlight::Registration* keys) = 0;
  // Leaves it, if one is open: nothing is locked after that, or the session is broken().
  virtual void Rollback() = 0;

  virtual bool in_transaction() const = 0;
  // Nothing can be done in it any more: a new session has to begin.
  virtual bool broken() const = 0;
  // When the transaction that is open, or was last, was begun.
  virtual absl::Time begun_at() const = 0;
  // How far the origin is applied.
  virtual Lsn committed() const = 0;
};

}  // namespace bdr::agent
