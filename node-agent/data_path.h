// The way of a change through this agent: captured here, kept, published to the peers; and theirs,
// taken in and applied. Owns each part of it and wires them to each other.
//
// Parts are handed on as one struct per folder (Stores, Positions, Clocks, InFlight), which is made
// here once. The order in which parts come to life is a guarantee, as is the opposite one in which
// they end:
//
//   clocks      before capture: it stamps
//   settings    are taken before anything is merged by them
//   in flight   own changes that a crash may have kept from being merged are known before the first
//               of them is captured again
//   capture     is made before whoever waits for it, and started last: nobody misses anything
//   serving     comes after all of that, since peers may then ask for it
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "base/metrics.h"
#include "node-agent/apply/foreign_keys/foreign_key_actions.h"
#include "node-agent/apply/letters/dead_letters.h"
#include "node-agent/capture/capture.h"
#include "node-agent/capture/foreign_origins.h"
#include "node-agent/capture/gaps.h"
#include "node-agent/changelog/stores.h"
#include "node-agent/clocks/clocks.h"
#include "node-agent/cluster/chunk_client.h"
#include "node-agent/cluster/known_membership.h"
#include "node-agent/cluster/settings.h"
#include "node-agent/config/agent_config.h"
#include "node-agent/inflight/in_flight.h"
#include "node-agent/peers.h"
#include "node-agent/positions/positions.h"
#include "node-agent/repair/row_repair.h"
#include "node-agent/report/agent_status.h"
#include "node-agent/rows/row_client.h"
#include "node-agent/rows/row_service.h"
#include "node-agent/schema/schema_watch.h"
#include "node-agent/sequences/chunk_keeper.h"
#include "node-agent/stream/publisher.h"
#include "node-agent/sync/data_folder.h"
#include "node-agent/sync/fence.h"
#include "node-agent/sync/identity.h"
#include "node-agent/tables/table_cache.h"
#include "node-agent/upkeep/clock_skews.h"
#include "node-agent/upkeep/compactor.h"
#include "node-agent/upkeep/watcher.h"

namespace bdr::agent {

// Start(), Serve(), StopServing() and Stop() are for the thread that owns it; the parts may be used
// by others once Start() has returned OK, and as long as Stop() has not been called. Each part says
// which of its calls are thread-safe.
class DataPath {
 public:
  struct Options {
    const AgentConfig* config = nullptr;  // outlives the path, as does all that is pointed to
    const DataFolder* folder = nullptr;
    const KnownMembership* known = nullptr;
    Metrics* metrics = nullptr;
    Identity identity;
    Fenced fenced;
  };

  // In the order in which they come to life. As many as there are: to own them in one place is what
  // keeps that order.
  struct Parts {
    // What everything is stamped and counted by.
    std::unique_ptr<Progress> progress;
    std::unique_ptr<StampClock> stamps;
    StableXid stable_xid;
    std::unique_ptr<ClockGate> clock_gate;
    // What is known of tables and of what is set.
    std::unique_ptr<DeadLetters> dead_letters;
    std::unique_ptr<ForeignKeyActions> foreign_key_actions;
    std::unique_ptr<TableCache> tables;
    std::unique_ptr<Settings> settings;
    std::unique_ptr<SchemaWatch> schema;
    // What is under way between capture and the appliers.
    std::unique_ptr<KeysInFlight> keys;
    std::unique_ptr<OwnChanges> own_changes;
    // Capture, and who looks after its server.
    std::unique_ptr<CaptureGaps> gaps;
    std::unique_ptr<ForeignOrigins> foreign_origins;
    std::unique_ptr<Capture> capture;
    std::unique_ptr<CaptureBarrier> barrier;
    std::unique_ptr<Watcher> watcher;
    // Sequences.
    std::unique_ptr<ChunkClient> chunk_client;
    std::unique_ptr<ChunkKeeper> chunks;
    // The other members.
    std::unique_ptr<RowClient> row_client;
    std::unique_ptr<Peers> peers;
    std::unique_ptr<ClockSkews> clock_skews;
    std::unique_ptr<RowRepair> repair;
    std::unique_ptr<Compactor> compactor;
    // What serves peers: null before Serve().
    std::unique_ptr<Publisher> publisher;
    std::unique_ptr<RowService> row_service;
  };

  explicit DataPath(Options options);
  // Stops.
  ~DataPath();
  DataPath(const DataPath&) = delete;
  DataPath& operator=(const DataPath&) = delete;

  // Makes all parts, and starts capture; `followed` is the cluster as it was written down. Once;
  // after an error what has come to life is ended by Stop(). No repetition heals one.
  absl::Status Start(const Membership& followed);
  // Makes what peers ask: parts().publisher and parts().row_service.
  void Serve();

  // Nobody is served any more. To be called before the gRPC server ends, which would wait for the
  // streams; Stop() after it. Both harmless if repeated.
  void StopServing();
  // Nothing comes in any more; then what was captured is published, and what of it was merged is
  // written down.
  void Stop();

  OriginId own() const { return identity_.own; }
  const Parts& parts() const { return parts_; }
  // As they were handed to the parts.
  const Stores& stores() const { return stores_; }
  const Positions& positions() const { return positions_; }
  const Clocks& clocks() const { return clocks_; }
  const InFlight& in_flight() const { return in_flight_; }
  // No stamp that was applied before this agent began was later.
  int64_t newest_applied_us() const { return fenced_.newest_applied_us; }
  // All of StatusParts but what the path does not know: the agent's health and the members.
  StatusParts status_parts() const;

 private:
  // Own changes that an earlier agent may not have merged again.
  struct Replay {
    Lsn after;
    Lsn through;
  };
  absl::Status MakeClocks(const Membership& followed);
  absl::Status MakeSettings(const Membership& followed);
  absl::Status MakeInFlight();
  absl::Status MakeCapture();
  void MakeWatcher();
  absl::Status MakeSequences();
  void MakePeers();
  ApplyParts MakeApplyParts() const;
  void MakeRepair();
  void KeepMerged();
  uint64_t log_cap_bytes() const;

  const AgentConfig& config_;
  const DataFolder& folder_;
  const KnownMembership& known_;
  Metrics* const metrics_;
  const Identity identity_;
  Fenced fenced_;

  Stores stores_;
  Positions positions_;
  Clocks clocks_;
  InFlight in_flight_;
  Replay replay_;
  Parts parts_;  // last: uses the above
};

}  // namespace bdr::agent
