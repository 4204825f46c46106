// A session of PostgreSQL that applies an origin's transactions.
//
// It holds the replication origin, so that no two sessions apply for one. What a session before it
// had sent may still be committed by its backend, which holds the origin until it ends: so progress
// is read only once the origin was had.
//
// COMMIT takes with it where the origin has come to, twice: in bdr.progress, which is read, and as
// the replication origin's own position, by which PostgreSQL's tools and decoding know it. The
// latter is set by the last statement before COMMIT, since an abort, also of a savepoint, would
// move the origin on (facts of PostgreSQL's replorigin_xact_state). Local WAL positions are read
// before and after: between them the commit became visible.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "base/origin.h"
#include "node-agent/apply/session/activity.h"
#include "node-agent/apply/session/apply_session.h"
#include "node-agent/apply/session/lock_waits.h"
#include "node-agent/apply/session/pipe.h"
#include "node-agent/clocks/clocks.h"
#include "node-agent/positions/positions.h"
#include "postgres/connection.h"

namespace bdr::agent {

// Belongs to the applier's thread, but for Cancel().
class ServerSession : public ApplySession {
 public:
  struct Options {
    OriginId origin;
    std::string conninfo;
    // The origin's transactions come again if a crash of the server takes them back, by
    // bdr.progress. Where nobody sends them again (own changes), every commit is flushed.
    bool comes_again = true;
    // All outlive it.
    Positions positions;
    Clocks clocks;
    KeysInFlight* keys = nullptr;
    Activity* activity = nullptr;
    LockWaits* locks = nullptr;
    // PostgreSQL has lost commits of this origin: its applier must begin again.
    std::function<void(OriginId origin)> rewound;
  };
  explicit ServerSession(Options options) : options_(std::move(options)) {}

  // Connects, and takes the replication origin. Errors as of Connection, of CheckOrigins() and of
  // TakeOrigin().
  absl::Status Open();
  // Reads what is committed, of this origin and of others that PostgreSQL may have lost.
  absl::Status ReadCommitted();
  // PostgreSQL's ids of our replication origins; 0 for the origin of repairs, which is no node's.
  absl::StatusOr<absl::flat_hash_map<uint32_t, NodeId>> ReadOrigins();
  // From now on statements go through pipe(). `slow`: see Pipe::SetSlow().
  absl::Status StartPipeline(std::function<void()> slow);
  void Close();
  // From any thread: ends what the session is waiting for.
  void Cancel();
  // Something must be asked now and then, or a connection that is lost goes unnoticed.
  absl::Status Ping();

  postgres::Connection* connection() { return connection_.get(); }
  Pipe* pipe() { return pipe_.get(); }

  absl::Status Begin(int64_t newest_us) override;
  // The same for one that writes no user's table: nobody's lock and no clock is waited for.
  absl::Status BeginBookkeeping();
  absl::Status Commit(const CommittedAt& last, KeysInFlight::Registration* keys) override;
  void Rollback() override;
  bool in_transaction() const override { return in_transaction_; }
  bool broken() const override { return connection_ == nullptr || lost_ || connection_->broken(); }
  absl::Time begun_at() const override { return begun_at_; }
  Lsn committed() const override { return committed_; }

 private:
  absl::Status SetUp();
  absl::Status TakeReplicationOrigin();
  absl::Status ReadProgress();
  absl::Status SettleOwn();
  absl::Status QueueProgress(const CommittedAt& last, Lsn* before);
  absl::Status SendCommit(const CommittedAt& last, bool* committed, Lsn* after);
  void Set(std::unique_ptr<postgres::Connection> connection);

  const Options options_;
  Mutex mu_;  // Guards the pointer against Cancel(); only this thread sets it.
  std::unique_ptr<postgres::Connection> connection_;
  std::unique_ptr<Pipe> pipe_;
  Lsn committed_;
  uint64_t server_life_ = 0;            // see Progress::Committed()
  std::optional<uint32_t> stable_xid_;  // as the session was told
  bool in_transaction_ = false;
  // Nobody knows whether the last transaction was committed, or it cannot be left.
  bool lost_ = false;
  absl::Time begun_at_ = absl::InfinitePast();
  bool warned_timeout_ = false;
};

}  // namespace bdr::agent
