// How far capture has come, who waits for it to come further, and what wakes its thread.
//
// Appliers wait here for what is committed and not captured yet; the watcher brings the server's
// clock and WAL; capture's thread tells how far it is. Whoever waits moves capture along: nothing
// is batched any longer than need be, and a log that is full does not stop what apply waits for.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/lsn.h"
#include "base/mutex.h"
#include "base/wake_fd.h"
#include "node-agent/capture/pulse.h"
#include "node-agent/inflight/keys_in_flight.h"
#include "postgres/replication.h"

namespace bdr::agent {

// Thread-safe.
class CaptureWaits {
 public:
  struct Counters {
    uint64_t transactions = 0;
    uint64_t changes = 0;
    uint64_t errors = 0;  // sessions that ended with one
    Lsn captured;
    Lsn confirmed;
  };

  // `keys` forgets what capture has passed; outlives it.
  explicit CaptureWaits(KeysInFlight* keys) : keys_(keys) {}

  // From now on stopping() holds, and every wait ends.
  void Stop();
  bool stopping() const { return stopping_; }

  // Wakes capture's thread.
  void SetPulse(const Pulse& pulse);
  Pulse pulse() const;

  // As Capture::WaitThrough().
  absl::Status WaitThrough(Lsn local_lsn, absl::Duration timeout);

  // What ends at or before `through` is in the change log and in the stores.
  void Reached(Lsn through);
  // The furthest anyone waits for, or has.
  Lsn wanted() const;
  // Somebody waits.
  bool IsAwaited() const;
  // Somebody waits for what Reached(decoded) would give him.
  bool IsAwaited(Lsn decoded) const;

  // Readable once a pulse has come or somebody waits, until ClearWake().
  int wake_fd() const { return woken_.fd(); }
  void ClearWake() { woken_.Clear(); }
  // At most `timeout`; less if something moves, or with Stop().
  void Sleep(absl::Duration timeout);

  // What waits in the server for others' transactions to end, null once it does no more; Stop()
  // cancels it.
  void SetWaiting(postgres::ReplicationConnection* connection);

  void Count(uint64_t transactions, uint64_t changes, Lsn confirmed);
  void CountError();
  Counters counters() const;

 private:
  KeysInFlight* const keys_;
  std::atomic<bool> stopping_{false};
  WakeFd woken_;  // capture's thread, which waits for the server
  mutable Mutex mu_;
  CondVar moved_;
  Pulse pulse_ ABSL_GUARDED_BY(mu_);
  Lsn through_ ABSL_GUARDED_BY(mu_);
  Lsn wanted_ ABSL_GUARDED_BY(mu_);
  Counters counters_ ABSL_GUARDED_BY(mu_);
  postgres::ReplicationConnection* waiting_ ABSL_GUARDED_BY(mu_) = nullptr;
};

}  // namespace bdr::agent
