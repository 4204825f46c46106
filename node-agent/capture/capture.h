// Capture: the one reader of the local slot. It turns what the server decodes into blocks of the
// change log, and confirms to the slot only what is durable there.
//
// States of a session, in order; any error ends it, and the next one starts from what is durable:
//   connecting -> (creating the slot) -> streaming -> ended
//   streaming <-> paused: the change log has reached its cap, or its disk is full
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/lsn.h"
#include "base/mutex.h"
#include "conflict/version_store.h"
#include "node-agent/applied_history.h"
#include "node-agent/capture/block_writer.h"
#include "node-agent/capture/spool.h"
#include "node-agent/capture/stamp_clock.h"
#include "node-agent/changelog/change_log.h"
#include "node-agent/changelog/database.h"
#include "node-agent/health.h"
#include "node-agent/progress.h"
#include "node-agent/server_past.h"
#include "node-agent/settings.h"
#include "node-agent/table_cache.h"
#include "postgres/replication.h"

namespace bdr::agent {

// The local server's clock and WAL, read together, the clock first.
struct Pulse {
  int64_t clock_us = 0;
  Lsn insert_lsn;
  Lsn flush_lsn;
};

class Capture {
 public:
  struct Options {
    OriginId own;
    std::string conninfo;
    std::string slot;
    size_t block_max_bytes = 1 << 20;
    uint64_t log_cap_bytes = 10ull << 30;
    // Large transactions are streamed to the spool beyond this, so it bounds capture's memory.
    size_t decoding_memory_bytes = 8 << 20;
    // Local WAL as it was before any applier of this agent began.
    Lsn touched_through = {};
  };
  struct Parts {  // all outlive the Capture
    Database* database;
    ChangeLog* log;
    const conflict::VersionStore* versions;
    const conflict::ClaimStore* claims;
    TableCache* tables;
    AppliedHistory* history;
    Progress* progress;
    StampClock* clock;
    KeyTable* keys;
    OwnChanges* own_changes;
    Settings* settings;
    const conflict::HistoryStore* fold_history;
    ServerPast* server_past;
  };
  struct Counters {
    uint64_t transactions = 0;
    uint64_t changes = 0;
    uint64_t errors = 0;  // sessions that ended with one
    Lsn captured;
    Lsn confirmed;
  };

  Capture(Options options, Parts parts);
  ~Capture();  // stops

  void Start();
  void Stop();  // publishes what is whole, and joins

  // Given every few milliseconds by whoever watches the server.
  void SetPulse(const Pulse& pulse);

  // Waits until every local commit that ended at or before `local_lsn` is in the change log and
  // the version store. The caller must have seen to it that the WAL is flushed beyond there.
  // kDeadlineExceeded.
  absl::Status WaitThrough(Lsn local_lsn, absl::Duration timeout);

  Health health() const { return health_.Get(); }
  Counters counters() const;

 private:
  class Session;
  void Run();
  void PublishThrough(Lsn through);
  void SetWaiting(postgres::ReplicationConnection* connection);

  const Options options_;
  const Parts parts_;
  HealthCell health_;

  mutable Mutex mu_;
  mutable CondVar moved_;
  Pulse pulse_ ABSL_GUARDED_BY(mu_);
  Lsn through_ ABSL_GUARDED_BY(mu_);
  Lsn wanted_ ABSL_GUARDED_BY(mu_);  // the furthest anyone waits for
  Counters counters_ ABSL_GUARDED_BY(mu_);
  // What waits in the server for others' transactions to end; Stop() cancels it.
  postgres::ReplicationConnection* waiting_ ABSL_GUARDED_BY(mu_) = nullptr;

  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace bdr::agent
