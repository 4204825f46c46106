// Notices that PostgreSQL was set back: restored from a backup or a snapshot, or replaced by a
// standby that lagged; or that it lost a replication origin.
//
// Then positions of its WAL come again with other transactions behind them. Capture would ask for
// what follows the position that it has reached, and the server would leave out, without an error,
// all that users commit before it; appliers would skip what the agent's store knows and the tables
// do not. The server itself remembers nothing of it. So the agent does: how far it has read the
// WAL, the last transaction that it read, and what of each origin was flushed to disk there. No
// crash takes any of them back, so a server that lacks one of them was set back.
//
// What was noticed is written down: users and appliers go on, and soon cover the traces.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/lsn.h"
#include "base/mutex.h"
#include "base/origin.h"
#include "node-agent/changelog/database.h"
#include "node-agent/positions/applied_position.h"
#include "node-agent/positions/progress.h"
#include "node-agent/positions/server_names.h"
#include "postgres/connection.h"

namespace bdr::agent {

// The last own transaction that was captured.
struct CapturedCommit {
  uint32_t xid = 0;  // 0: none is known
  int64_t commit_us = 0;
  // By another tool's replication origin, which gave it any commit time it liked: nothing can be
  // told of its rows by that.
  bool foreign = false;
  // The time by which rows of this commit are judged.
  int64_t shown_us() const { return foreign ? std::numeric_limits<int64_t>::min() : commit_us; }
};

// Thread-safe. All checks give kFailedPrecondition once the server was found to be set back, by
// whichever check, also after a restart.
class ServerPast {
 public:
  // `database` outlives it.
  static absl::StatusOr<std::unique_ptr<ServerPast>> Load(Database* database);

  // Two answers: what is known to be flushed of each origin, and what the server says is applied,
  // read after that. Others go on meanwhile, and are not taken for what was lost.
  using Positions = std::map<OriginId, Lsn>;
  struct Told {
    Positions flushed;
    std::vector<AppliedPosition> applied;
  };
  absl::StatusOr<Told> Ask(postgres::Connection& connection) const;

  // Before a session makes its replication origin anew, and before capture reads on: those of whom
  // something was flushed are there. PostgreSQL 15 would decode what had not been captured yet of
  // one that was dropped as this node's own transactions.
  absl::Status CheckOrigins(postgres::Connection& connection, const ServerNames& names);
  // Before capture reads on from `through`. `told` since the server was connected to.
  absl::Status CheckCapture(postgres::Connection& connection, Lsn through,
                            const CapturedCommit& last, const Told& told);
  // Before anything is applied in a new session.
  absl::Status CheckApplied(const Told& told);

  // The finding so far, by whichever check.
  absl::Status Found() const;

  // These positions are flushed on the server. Survives a crash of the machine once the database
  // was synced.
  absl::Status Flushed(absl::Span<const OriginLsn> flushed);

 private:
  ServerPast(Database* database, Positions flushed, absl::Status set_back)
      : database_(database), flushed_(std::move(flushed)), set_back_(std::move(set_back)) {}
  absl::Status SetBack(const std::string& why);

  Database* const database_;
  mutable Mutex mu_;
  Positions flushed_ ABSL_GUARDED_BY(mu_);
  absl::Status set_back_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::agent
