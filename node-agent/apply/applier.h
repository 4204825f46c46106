// Applies one origin's transactions to the local database, in groups, in causal order.
//
// States of an applier:
//   connecting   no session, or the old one's backend still holds the origin
//   rebuilding   row versions that a machine crash took from the store come back from the log
//   applying     all that is ready is applied, or there is nothing to do
//   waiting      for what another origin committed before (causal order), capture, keys, a clock,
//                or a lock that a user holds
//   held         a transaction lies in the future of this server's clock by more than the limit
//   stopped      a transaction cannot be applied; a person is needed, or the next automatic try
// connecting -> rebuilding -> applying <-> waiting | held | stopped; any -> connecting on a lost
// session.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/health.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "base/repetition.h"
#include "conflict/claim_store.h"
#include "conflict/merge_rule.h"
#include "conflict/version_store.h"
#include "node-agent/apply/foreign_keys/foreign_keys.h"
#include "node-agent/apply/letters/dead_letters.h"
#include "node-agent/apply/plan/group_claims.h"
#include "node-agent/apply/plan/group_plan.h"
#include "node-agent/apply/plan/group_versions.h"
#include "node-agent/apply/plan/missing_values.h"
#include "node-agent/apply/plan/row_source.h"
#include "node-agent/apply/plan/transaction_reader.h"
#include "node-agent/apply/session/activity.h"
#include "node-agent/apply/session/lock_waits.h"
#include "node-agent/apply/session/pipe.h"
#include "node-agent/apply/stall.h"
#include "node-agent/apply/write/group_executor.h"
#include "node-agent/changelog/change_log.h"
#include "node-agent/changelog/database.h"
#include "node-agent/clocks/clock_gate.h"
#include "node-agent/clocks/stable_xid.h"
#include "node-agent/clocks/stamp_clock.h"
#include "node-agent/cluster/settings.h"
#include "node-agent/inflight/capture_barrier.h"
#include "node-agent/inflight/keys_in_flight.h"
#include "node-agent/inflight/own_changes.h"
#include "node-agent/positions/applied_history.h"
#include "node-agent/positions/progress.h"
#include "node-agent/positions/server_names.h"
#include "node-agent/positions/server_past.h"
#include "node-agent/tables/claim_reader.h"
#include "node-agent/tables/local_relation.h"
#include "node-agent/tables/table_cache.h"
#include "postgres/connection.h"

namespace bdr::agent {

struct ApplyOptions {
  std::string conninfo;
  std::string origin_name = {};  // of the node whose changes are applied, for people
  size_t group_max_transactions = 500;
  size_t group_max_bytes = 4 << 20;
  absl::Duration group_max_time = absl::Milliseconds(200);
  bool puts_aside = false;  // what cannot be applied, rather than stop
  bool forwards_foreign_origins = false;
  // Without progress for that long, while changes wait, status warns and tells what is being done.
  absl::Duration stall_warning = absl::Seconds(30);
  Histogram group_transactions = {};  // of each group: how many transactions
  Histogram group_seconds = {};       // and how long it took
  // Set for the one applier that merges this node's own changes again: where they come from, in
  // place of the change log.
  OwnChanges* own_changes = nullptr;
  // Of those, what a crash may have taken: the own log from here on, up to there, counts as
  // touched.
  Lsn replay_after = {};
  Lsn replay_through = {};
};

// What all appliers of an agent share; everything outlives them.
struct ApplyParts {
  Database* database;
  ChangeLog* log;
  const conflict::VersionStore* versions;
  const conflict::ClaimStore* claims;
  TableCache* tables;
  AppliedHistory* history;
  Progress* progress;
  StampClock* clock;
  const ClockGate* clock_gate;
  DeadLetters* dead_letters;
  KeysInFlight* keys;
  const StableXid* stable_xid;
  Settings* settings;
  const conflict::HistoryStore* fold_history;
  ServerPast* server_past;
  CaptureBarrier* barrier;
  const ServerNames* names;
  RowSource* rows;  // of the other members
  // Waits until every applier has rebuilt its part of the version store; `origin` has now.
  std::function<bool(OriginId origin, absl::Duration timeout)> versions_rebuilt;
  // What to do about foreign keys that are orphaned was queued.
  std::function<void()> foreign_keys_queued;
  // PostgreSQL has lost commits of this origin: its applier must begin again.
  std::function<void(OriginId origin)> rewound;
  // The columns that a node generates in a table, as far as is known. Null: nothing is.
  std::function<std::vector<std::string>(NodeId node, absl::string_view schema,
                                         absl::string_view table)>
      generated_at = nullptr;
  CountsClaim counts_claim = nullptr;  // null: every claim counts
};

struct ApplierStatus {
  Health health;
  OriginId held_by;             // whose transactions it waits for; node 0: nobody's
  int64_t oldest_stamp_us = 0;  // of what is not applied yet; 0: nothing is
  int64_t held_us = 0;          // how far that is ahead of the clock, if it is held for it
  uint64_t transactions = 0;
  uint64_t changes = 0;
  uint64_t retries = 0;
  uint64_t errors = 0;
  uint64_t orphans = 0;       // rows found that reference nothing
  uint64_t fetched_rows = 0;  // rows whose large values came from another node
  uint64_t fetch_waits = 0;   // how often no node could be asked for them
  std::map<conflict::ConflictKind, uint64_t> conflicts;
  // By table and kind; of tables that come after the first few hundred under "other".
  std::map<std::pair<std::string, std::string>, uint64_t> table_conflicts;
};

class Applier {
 public:
  Applier(OriginId origin, ApplyOptions options, ApplyParts parts);
  ~Applier();  // stops

  void Start();
  void Stop();
  // Tries again at once what is stopped.
  void Retry();
  // Ends the session: what was committed must be read again, since the members changed or
  // PostgreSQL has lost commits.
  void Rewind(bool lost_commits);

  OriginId origin() const { return origin_; }
  ApplierStatus status() const;

 private:
  // SQLSTATE: the clock has not passed a change's time. What the server's function raises.
  static constexpr absl::string_view kClockBehind = "BD001";

  static constexpr size_t kFirstLookAhead = 4;
  static size_t LongerLookAhead(size_t pieces) { return std::min<size_t>(4 * pieces, 1 << 30); }

  // An attempt at a transaction that is applied piece by piece, in one local transaction.
  struct Attempt {
    Lsn letter = {};  // where it ends, if it had been put aside
    // Once something has to be waited for, the attempt is a rehearsal: it will be rolled back, and
    // goes on for so many pieces to learn what else has to be waited for. Ever more, so that its
    // attempts stay few; and few at first, since mostly there is nothing else.
    size_t look_ahead = kFirstLookAhead;
    bool rehearsal = false;
    FoundBefore must_wait = {};
    ConflictCounts conflicts = {};
    uint64_t changes = 0;
    uint64_t orphans = 0;
    bool orphans_queued = false;
    std::deque<DeadLetter> refused = {};
  };

  absl::Status Session();
  absl::Status Connect();
  absl::Status SetUpOrigin();
  absl::Status ReadProgress();
  absl::Status SettleOwn();
  absl::Status ReadOrigins();
  absl::Status RebuildVersions();
  absl::Status Loop();
  absl::StatusOr<bool> Gather();
  absl::StatusOr<bool> GatherOwn();
  // How far apply has got: what is committed, and pieces of the transaction that is applied now.
  using Reached = std::pair<Lsn, uint64_t>;
  std::optional<absl::Time> StalledSince() const;
  bool merges_own() const { return options_.own_changes != nullptr; }
  void HoldToPromise(const TransactionHeader& header);
  absl::StatusOr<bool> Ready(const Piece& piece);
  absl::StatusOr<bool> KnowsSettings(const TransactionHeader& header);
  void WaitForClock(const ClockGate::Verdict& verdict);
  void WaitForServerClock(int64_t stamp_us);
  absl::Status ApplyPending();
  absl::StatusOr<bool> HasKeylessRows(const Piece& piece);
  absl::StatusOr<size_t> SizeOfGroup(size_t pieces);
  absl::Status ApplyGroup(size_t wanted);
  absl::Status ApplyLarge();
  // Runs a piece of the transaction that is open. False if no more of them are wanted.
  absl::StatusOr<bool> RunPiece(const std::shared_ptr<const Piece>& piece,
                                const FoundBefore& found_before, Attempt* attempt);
  absl::Status WaitFor(const Attempt& attempt, StampRange stamps,
                       KeysInFlight::Registration* registration, FoundBefore* found_before);
  absl::Status RegisterKeys(const GroupPlan& plan, const GroupClaims& claims,
                            const std::vector<std::string>& further,
                            absl::flat_hash_set<std::string>* registered,
                            KeysInFlight::Registration* registration);
  absl::Status RecordDead(const GroupExecutor& executor);
  // Forgets what tables are bound to, and then, before the next transaction, its statements.
  void Unbind();
  absl::Status RefreshSettings();
  absl::Status CheckGeneratedThere(const RemoteRelation& relation, const BoundTable& table);
  absl::Status QueueBegin(int64_t newest_us);
  // Ends the local transaction: with `moves_progress` the origin's, up to `last`.
  absl::Status Commit(const TransactionHeader& last, KeysInFlight::Registration* registration,
                      bool moves_progress);
  // Whether to come again at once after an attempt at `size` transactions that left out a row; if
  // not, `status` tells the cause.
  bool ComeAgainAfterLeftOut(size_t size, absl::Status* status);
  bool PutsAside(const absl::Status& cause) const;
  absl::Status PutAside(const absl::Status& cause);
  absl::Status RecordQuietly(const std::shared_ptr<const Piece>& piece, bool applied);
  void TellOfNoVersion(const Piece& piece, const absl::Status& cause);
  absl::Status RetryLetters();
  // Before a commit that puts changes among the dead letters, and after it.
  void AnnounceRefused(const std::deque<DeadLetter>& refused);
  void NoteRefused(const std::deque<DeadLetter>& refused);
  bool SawEverything(const TransactionHeader& header) const;
  absl::Status CheckForeignKeys(GroupPlan& plan, bool letter);
  absl::Status CheckShapes(GroupPlan& plan);
  void NoteOrphans(uint64_t orphans, bool queued);
  absl::Status ApplyLetter(const DeadLetter& letter);
  absl::Status WriteLetter(const DeadLetter& letter, const FoundBefore& found_before,
                           TransactionHeader* header, Attempt* attempt);
  absl::Status FoldAgain(const DeadLetter& letter, const FoundBefore& found_before,
                         TransactionHeader* header, Attempt* attempt);
  void Rollback();
  void WaitABit(absl::Duration duration);
  void SetConnection(std::unique_ptr<postgres::Connection> connection);
  void FitGroups(size_t transactions, absl::Duration took);
  absl::Status WaitForKeys(const std::vector<std::string>& keys,
                           const std::vector<uint32_t>& tables, bool all, StampRange stamps,
                           KeysInFlight::Registration* registration);
  absl::Status WaitForCapture();
  void TellOfLock();
  void WaitForLock(const absl::Status& timed_out, bool at_once);
  void PassedLocks();
  absl::Status FetchValues(bool may_be_split);
  void Count(const GroupPlan& plan, const ConflictCounts& conflicts);
  void CountConflictsLocked(const ConflictCounts& conflicts) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void BeginAnew();
  void SetHealth(Health::Level level, absl::string_view state, absl::string_view reason = "");
  GroupPlan::Resolve Resolver();
  absl::StatusOr<std::shared_ptr<const BoundTable>> Bind(const RemoteRelation& relation,
                                                         const LocalRelation& here);

  const OriginId origin_;
  const ApplyOptions options_;
  const ApplyParts parts_;
  HealthCell health_;
  Activity activity_;

  // Belong to the applier's thread.
  std::unique_ptr<postgres::Connection> connection_;  // set under mu_, for Stop() to cancel
  std::unique_ptr<Pipe> pipe_;
  TransactionReader reader_;
  MissingValues values_;
  Lsn committed_;
  uint32_t stable_xid_ = 0;   // as the session was told
  uint64_t server_life_ = 0;  // see Progress::Committed()
  ExecutorOptions executor_options_;
  std::deque<std::shared_ptr<const Piece>> pending_;  // taken from the reader, not yet applied
  // By the relation as it was announced; what it is here may depend on when the change was made.
  struct BoundRelation {
    AnswerHolds holds;
    GroupPlan::Resolved resolved;
  };
  absl::flat_hash_map<std::string, std::vector<BoundRelation>> bound_;
  bool unbound_ = false;                        // since statements were last given up
  absl::flat_hash_set<std::string> gone_told_;  // was logged
  // By the relation as it was announced: why versions of its changes cannot be kept, until when
  // that counts.
  absl::flat_hash_map<std::string, std::pair<absl::Status, absl::Time>> unbindable_;
  absl::flat_hash_map<std::string, absl::Time> told_;  // why no version is kept: as logged, when
  // Relations whose origin generated columns that are plain ones here. It may have become a plain
  // one there since: what was sent before is without its values all the same.
  absl::flat_hash_map<std::string, std::vector<std::string>> without_generated_;
  GroupVersions versions_;
  // What versions_ told of the transactions in pending_, over all attempts at them.
  GroupVersions::Versions before_;
  int collisions_ = 0;  // attempts in a row that met a value which somebody holds
  int left_out_ = 0;    // ... after which a row was not written that should have been
  size_t group_limit_;  // transactions of a group, so that it takes no longer than it may
  // Of the local transaction that is open, or was last.
  absl::Time begun_at_ = absl::InfinitePast();
  LockWaits locks_;
  absl::Time blocked_since_ = absl::InfiniteFuture();  // by somebody's lock
  std::string blocked_by_;                             // as was logged last
  Histogram group_transactions_;
  Histogram group_seconds_;
  ClaimReader claim_reader_;
  ForeignKeys foreign_keys_;
  absl::Time last_ping_;
  bool warned_timeout_ = false;
  bool held_ = false;  // as tally_.held_us tells
  Repetition broken_promises_;
  Repetition refused_letters_;
  bool failed_ = false;               // and that was said
  Repetition repetition_;             // of what is logged of the state
  uint64_t settings_generation_ = 0;  // for which tables were bound
  bool replaying_ = false;            // own changes are read from the log
  Lsn replay_through_;                // up to here

  mutable Mutex mu_;
  CondVar woken_;
  ApplierStatus tally_ ABSL_GUARDED_BY(mu_);
  mutable StallWatch<Reached> stall_watch_ ABSL_GUARDED_BY(mu_);
  mutable bool stalled_ ABSL_GUARDED_BY(mu_) = false;
  bool retry_ ABSL_GUARDED_BY(mu_) = false;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;  // the thread is about to return

  std::atomic<bool> stopping_{false};
  std::atomic<bool> rewind_{false};
  std::atomic<bool> lost_commits_{false};  // why
  // The furthest that any attempt at the present transaction has got: attempts that begin again
  // are no progress.
  std::atomic<uint64_t> furthest_piece_{0};
  std::atomic<uint64_t> fetched_rows_{0};
  std::atomic<uint64_t> fetch_waits_{0};
  std::thread thread_;
};

}  // namespace bdr::agent
