// bdr-agent: everything it consists of, in the order in which it comes to life.
//
//   starting                  its ports are taken, then its data folder is opened
//   waiting for an identity   bdr-server does not know this node yet
//   checking                  PostgreSQL is not reachable, or not fit to be a node
//   joining                   capture begins; it learns from where it needs each member's changes
//   running
//
// Each step but the first is repeated until it succeeds; what is missing stands in /readyz and in
// the log.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/health.h"
#include "base/http_server.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "node-agent/admin/admin_service.h"
#include "node-agent/admin/agent_backend.h"
#include "node-agent/apply/foreign_keys/foreign_key_actions.h"
#include "node-agent/apply/letters/dead_letters.h"
#include "node-agent/capture/capture.h"
#include "node-agent/capture/foreign_origins.h"
#include "node-agent/changelog/change_log.h"
#include "node-agent/changelog/database.h"
#include "node-agent/clocks/clock_gate.h"
#include "node-agent/clocks/stamp_clock.h"
#include "node-agent/cluster/control_client.h"
#include "node-agent/cluster/membership.h"
#include "node-agent/cluster/settings.h"
#include "node-agent/config/agent_config.h"
#include "node-agent/inflight/capture_barrier.h"
#include "node-agent/inflight/keys_in_flight.h"
#include "node-agent/inflight/own_changes.h"
#include "node-agent/listener.h"
#include "node-agent/peers.h"
#include "node-agent/positions/applied_history.h"
#include "node-agent/positions/progress.h"
#include "node-agent/positions/server_names.h"
#include "node-agent/positions/server_past.h"
#include "node-agent/repair/row_repair.h"
#include "node-agent/rows/row_client.h"
#include "node-agent/rows/row_service.h"
#include "node-agent/schema/schema_watch.h"
#include "node-agent/sequences/chunk_keeper.h"
#include "node-agent/sequences/marks.h"
#include "node-agent/stream/publisher.h"
#include "node-agent/tables/table_cache.h"
#include "node-agent/upkeep/clock_skews.h"
#include "node-agent/upkeep/compactor.h"
#include "node-agent/upkeep/watcher.h"

namespace bdr::agent {

class Agent : public AgentBackend {
 public:
  explicit Agent(AgentConfig config);
  ~Agent() override;

  // Runs until Stop(). The error that ends it is one that no repetition can heal.
  absl::Status Run();
  // From any thread; returns at once.
  void Stop();

  // --- AgentBackend ---
  void FillStatus(v1::NodeStatus* status) override;
  absl::Status FillPosition(absl::Time deadline, v1::GetPositionResponse* position) override;
  absl::StatusOr<std::vector<NodeId>> RetryApply(NodeId node) override;
  absl::Status ExportRows(postgres::Connection& connection, const v1::ExportRowsRequest& request,
                          v1::ExportRowsResponse* response) override;
  absl::Status RepairRows(const v1::RepairRowsRequest& request,
                          v1::RepairRowsResponse* response) override;
  absl::Status OwnsDatabase() override;
  absl::Status RetryDeadLetter(int64_t id, absl::Time deadline) override;
  void DeadLetterDropped(int64_t id) override;
  absl::Status SkipUndecodable(absl::Time deadline, absl::FunctionRef<bool()> cancelled,
                               const v1::SkipUndecodableRequest& request,
                               v1::SkipUndecodableResponse* response) override;
  absl::Status CloseGaps(const v1::CloseGapsRequest& request,
                         v1::CloseGapsResponse* response) override;
  std::vector<pg_setup::PolicyWish> TablePolicies() override;
  std::vector<pg_setup::Finding> SchemaFindings() override;

 private:
  absl::Status Listen();
  absl::Status Open();
  absl::Status LearnIdentity();
  // kInvalidArgument once bdr-server has taken this node back before it had joined: it will never
  // be a member.
  absl::Status CheckNotRemoved() const;
  absl::Status CheckPostgres();
  absl::Status Fence();
  absl::Status StartDataPath();
  void Serve();
  absl::Status Join();
  absl::Status KeepMembership();
  absl::Status Follow();
  absl::Status TakeChange(Membership* followed);
  absl::Status TakeSettings();
  absl::Status FollowTableChanges();
  absl::Status FollowClock();
  void LookAtClocks();
  void ShutDown();
  void KeepMerged();
  // Repeats `step` until it succeeds (OK), cannot (the error), or the agent stops (kCancelled).
  absl::Status Repeat(absl::string_view state, absl::Status (Agent::*step)());
  void Wait(absl::Duration duration);
  std::vector<std::string> NotReady();
  void RefreshMetrics();
  Membership membership() const;
  void SetMembership(const Membership& membership);

  const AgentConfig config_;
  std::string data_dir_id_;  // set by Open()
  HealthCell health_{"starting"};
  Metrics metrics_;
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<AdminService> admin_;

  std::unique_ptr<Database> database_;
  std::unique_ptr<ChangeLog> log_;
  std::unique_ptr<conflict::VersionStore> versions_;
  std::unique_ptr<conflict::ClaimStore> claims_;
  std::unique_ptr<conflict::HistoryStore> fold_history_;
  std::unique_ptr<ServerPast> server_past_;
  std::unique_ptr<CaptureGaps> gaps_;
  std::unique_ptr<SequenceMarks> sequence_marks_;
  std::unique_ptr<ControlClient> control_;

  // As reports tell it: 0 until there is an identity.
  std::atomic<uint32_t> reported_id_{0};

  // From the identity on.
  OriginId own_;
  std::unique_ptr<const ServerNames> names_;
  std::atomic<uint64_t> followed_epoch_{0};  // the peers of this one are waited for
  Membership taken_;                         // as it was written down last
  uint64_t clock_retired_ = 0;               // to be written down; 0: nothing
  std::unique_ptr<AppliedHistory> history_;
  std::unique_ptr<Progress> progress_;
  std::unique_ptr<StampClock> clock_;
  std::unique_ptr<Settings> settings_;
  std::unique_ptr<ClockGate> clock_gate_;
  std::vector<DeadLetter> letters_at_start_;
  std::unique_ptr<DeadLetters> dead_letters_;
  std::unique_ptr<ForeignKeyActions> foreign_key_actions_;
  std::unique_ptr<TableCache> tables_;
  std::unique_ptr<SchemaWatch> schema_;
  std::unique_ptr<KeysInFlight> keys_;
  StableXid stable_xid_;
  ForeignOrigins foreign_origins_;
  ClockSkews clock_skews_;
  std::unique_ptr<OwnChanges> own_changes_;
  int64_t newest_applied_us_ = 0;  // before this agent began: no stamp applied was later
  Lsn fenced_at_;                  // local WAL when no earlier session could commit any more
  std::unique_ptr<Capture> capture_;
  std::unique_ptr<CaptureBarrier> barrier_;
  std::unique_ptr<Watcher> watcher_;
  std::unique_ptr<ChunkClient> chunk_client_;
  std::unique_ptr<ChunkKeeper> chunks_;
  std::unique_ptr<Compactor> compactor_;
  std::unique_ptr<RowClient> row_client_;
  std::unique_ptr<Peers> peers_;
  std::unique_ptr<RowRepair> repair_;
  std::unique_ptr<Publisher> publisher_;
  std::unique_ptr<RowService> row_service_;
  std::unique_ptr<Listener> listener_;  // last: serves the above

  // The parts above may be used by other threads (status, admin) from here on.
  std::atomic<int64_t> stable_known_us_{0};  // see bdr.v1.NodeStatus
  std::atomic<bool> data_path_{false};
  std::atomic<bool> joined_{false};

  mutable Mutex mu_;
  CondVar woken_;
  Membership membership_ ABSL_GUARDED_BY(mu_);
  bool membership_changed_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace bdr::agent
