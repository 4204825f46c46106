// Looks at the local PostgreSQL all the time, and does what follows from it: positions become
// durable, what all members have is forgotten, the conflict log stays bounded, WAL that nobody
// flushes gets flushed, and what does not travel is told of.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/health.h"
#include "base/mutex.h"
#include "node-agent/capture/capture.h"
#include "node-agent/capture/foreign_origins.h"
#include "node-agent/changelog/stores.h"
#include "node-agent/clocks/clocks.h"
#include "node-agent/inflight/in_flight.h"
#include "node-agent/positions/positions.h"
#include "node-agent/upkeep/conflict_log_bound.h"
#include "node-agent/upkeep/durability.h"
#include "node-agent/upkeep/fitness.h"
#include "node-agent/upkeep/forgetting.h"
#include "node-agent/upkeep/server_pulse.h"
#include "node-agent/upkeep/unpublished_tables.h"
#include "postgres/connection.h"

namespace bdr::agent {

// Thread-safe. Owns one thread with one connection.
class Watcher {
 public:
  struct Options {
    std::string conninfo;
    std::string slot;
    absl::Duration conflict_log_max_age = absl::Hours(24 * 7);
    int64_t conflict_log_max_rows = 1'000'000;
    bool publish_new_tables = true;
  };
  struct Parts {  // what they point to outlives the Watcher
    Stores stores;
    Positions positions;
    Clocks clocks;
    InFlight in_flight;
    Capture* capture = nullptr;
    ForeignOrigins* foreign_origins = nullptr;
  };
  struct Seen {
    bool reachable = false;
    std::string error;  // why not
    std::string server_version;
    Lsn insert_lsn;
    uint64_t slot_retained_bytes = 0;
    // Tables that do not replicate because of their key, with the cause and the remedy.
    std::vector<std::string> left_out;
  };

  Watcher(Options options, Parts parts);
  ~Watcher();

  Seen seen() const;
  // What does not travel: tables that are not published, what other tools write.
  Health unpublished() const { return unpublished_.health(); }
  Health foreign_origins() const { return parts_.foreign_origins->health(); }
  Health fitness() const { return fitness_.health(); }

 private:
  void Run();
  absl::Status Look();
  absl::Status LookAtSlot();
  absl::Status LookAtTables();
  absl::Status Connect();

  const Options options_;
  const Parts parts_;
  std::unique_ptr<postgres::Connection> connection_;  // the thread's
  absl::Time moved_;                                  // when the server's WAL last did
  absl::Time last_durable_;
  absl::Time last_slot_;
  absl::Time last_tables_;
  absl::Time last_origins_;
  Lsn origins_looked_at_;  // where the WAL stood then
  ServerPulse pulse_;
  Durability durability_;
  Forgetting forgetting_;
  UnpublishedTables unpublished_;
  Fitness fitness_;
  ConflictLogBound conflict_log_;

  mutable Mutex mu_;
  CondVar woken_;
  Seen seen_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace bdr::agent
