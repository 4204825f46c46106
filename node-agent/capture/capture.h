// Capture: the one reader of the local slot. It turns what the server decodes into blocks of the
// change log, and confirms to the slot only what is durable there.
//
// One session follows the other: any error ends one, and the next starts from what is durable. The
// states and their moves are in capture_state.h.
// An error that PostgreSQL raises while it decodes is met again at the same place in the WAL every
// time. The next session, without streaming of running transactions, gets to know which commit
// record that is; then capture is stopped: tried again from time to time, until Skip() passes that
// transaction.
// A value that PostgreSQL cannot send in binary, though its type claims to have that form (an array
// of aclitem), would end every session. So the next one reads all values as texts until the
// transaction has passed, then a new one goes on in binary. Nothing of this is kept: an agent that
// was killed meets the value again, and goes the same way.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/health.h"
#include "base/lsn.h"
#include "base/mutex.h"
#include "base/repetition.h"
#include "base/wake_fd.h"
#include "node-agent/capture/block_writer.h"
#include "node-agent/capture/capture_state.h"
#include "node-agent/capture/gaps.h"
#include "node-agent/capture/pulse.h"
#include "node-agent/capture/spool.h"
#include "node-agent/changelog/stores.h"
#include "node-agent/clocks/clocks.h"
#include "node-agent/cluster/settings.h"
#include "node-agent/inflight/in_flight.h"
#include "node-agent/positions/positions.h"
#include "node-agent/tables/table_cache.h"
#include "postgres/replication.h"

namespace bdr::agent {

class ForeignOrigins;

class Capture {
 public:
  struct Options {
    OriginId own;
    std::string conninfo;
    size_t block_max_bytes = 1 << 20;
    uint64_t log_cap_bytes = 10ull << 30;
    // Large transactions are streamed to the spool beyond this, so it bounds capture's memory.
    size_t decoding_memory_bytes = 8 << 20;
    // What other tools' replication origins write is sent on as this node's own.
    bool forward_foreign_origins = false;
    // Local WAL as it was before any applier of this agent began.
    Lsn touched_through = {};
  };
  struct Parts {  // what they point to outlives the Capture
    Stores stores;
    Positions positions;
    Clocks clocks;       // of them the stamps
    InFlight in_flight;  // no barrier: that one waits for capture
    TableCache* tables = nullptr;
    Settings* settings = nullptr;
    CaptureGaps* gaps = nullptr;
    ForeignOrigins* foreign_origins = nullptr;
  };
  // A transaction that PostgreSQL cannot decode.
  struct Undecodable {
    Lsn commit;            // its commit record
    std::string cause;     // PostgreSQL's error
    bool applied = false;  // it was applied here for another node, which has its changes
    bool follows =
        false;  // there is nothing that can be decoded between it and the last that was skipped
    std::string missing = {};  // a publication that is not there now: nothing new can be decoded
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

  // Passes the transaction that cannot be decoded and whose commit record is at `commit`, and no
  // other; with `until_decodable` also those behind it, up to the first that can be decoded. Their
  // changes stay on this node alone. Waits until that is durable, and gives what was skipped.
  // kFailedPrecondition if capture does not stand at that transaction, or nothing could be decoded
  // behind it either; kDeadlineExceeded: what was not skipped yet is given up.
  // `given_up` is asked several times a second: true ends it as the deadline does.
  absl::StatusOr<CaptureGap> Skip(Lsn commit, bool until_decodable, absl::Duration timeout,
                                  absl::FunctionRef<bool()> given_up);

  CaptureState state() const { return health_.state(); }
  Health health() const { return health_.Get(); }
  Counters counters() const;

 private:
  class Session;
  struct Skipping {
    Lsn commit;
    bool until_decodable = false;
    bool begun = false;  // the first was skipped
    bool ended = false;
    absl::Status status = absl::OkStatus();
  };
  void Run();
  // After a session that ended at `undecodable`. True if it was passed: begin again at once.
  absl::StatusOr<bool> PassUndecodable(const Undecodable& undecodable);
  absl::Status Pass(const Undecodable& undecodable, bool extends);
  void EndSkipping(const absl::Status& status);
  bool InDoubt();
  // How the next session reads values.
  struct Reading {
    bool as_text = false;
    std::string why;                             // if so: what PostgreSQL said
    absl::Duration stay = absl::ZeroDuration();  // as text, at least
    absl::Time changed = absl::InfinitePast();   // when, by SteadyNow()
  };
  // Takes up what a session found out. False if it ended for another reason.
  bool ChangeReading(const Session& session, const absl::Status& status);
  // Whether the log may grow, and by so much without being full.
  bool HasRoom(uint64_t least_bytes);
  // Returns once there is room for a while, or when the agent stops.
  void WaitForRoom();
  void PublishThrough(Lsn through);
  void SetWaiting(postgres::ReplicationConnection* connection);

  const Options options_;
  const Parts parts_;
  CaptureHealth health_;

  WakeFd woken_;  // the thread, which waits for the server
  mutable Mutex mu_;
  mutable CondVar moved_;
  Pulse pulse_ ABSL_GUARDED_BY(mu_);
  Lsn through_ ABSL_GUARDED_BY(mu_);
  Lsn wanted_ ABSL_GUARDED_BY(mu_);  // the furthest anyone waits for
  Counters counters_ ABSL_GUARDED_BY(mu_);
  std::optional<Undecodable> undecodable_ ABSL_GUARDED_BY(mu_);  // where capture stands
  std::optional<Skipping> skipping_ ABSL_GUARDED_BY(mu_);
  // What waits in the server for others' transactions to end; Stop() cancels it.
  postgres::ReplicationConnection* waiting_ ABSL_GUARDED_BY(mu_) = nullptr;

  // The thread's: whether running transactions are streamed. Without, sessions meet what cannot be
  // decoded at its commit record.
  bool streaming_ = true;
  // Belong to the thread.
  Reading reading_;
  absl::Time let_go_ = absl::InfinitePast();  // when a session of ours left the slot for another
  std::optional<uint64_t> compacted_trims_;   // of the log, when it was compacted to make room
  absl::Time next_compaction_ = absl::InfinitePast();
  Repetition compaction_;  // of what is logged of them

  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

// What people read of a transaction that cannot be decoded on this node.
std::string ToString(const Capture::Undecodable& undecodable);

}  // namespace bdr::agent
