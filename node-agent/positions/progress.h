// How far every origin has come, here and elsewhere: the agent's one view of all positions.
//
// Positions err low: too low costs work (something comes twice and is skipped), too high loses
// data. Committed means visible in this node's PostgreSQL; durable means flushed there as well,
// with the change log synced, so that neither crash takes it back.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "base/lsn.h"
#include "base/mutex.h"
#include "base/origin.h"
#include "node-agent/changelog/block.h"
#include "node-agent/changelog/change_log.h"
#include "node-agent/positions/applied_history.h"
#include "node-agent/stream/stream_backend.h"

namespace bdr::agent {

// Thread-safe. Only the Wait… calls block.
class Progress : public StreamBackend {
 public:
  // `log` and `history` outlive it. Without a log it relays nobody's blocks.
  Progress(OriginId own, const ChangeLog* log, AppliedHistory* history)
      : own_(own), log_(log), history_(history) {}

  OriginId own() const { return own_; }

  // The other members: a position is stable once all of them have it. Nothing is stable before the
  // first call.
  void SetPeers(std::vector<OriginId> peers);
  std::vector<OriginId> Peers() const;

  // --- capture ---
  // Own blocks up to `published` can be read from the log, and every stamp yet to come is later
  // than `promise_us`. What is still to be published has seen the other nodes at least so far.
  void Published(Lsn published, int64_t promise_us, const std::vector<SeenUntil>& seen);
  // The clock of this node's PostgreSQL, as last read, with the time that has passed since.
  void SetServerClock(int64_t clock_us);
  int64_t ServerClock() const override;

  // --- apply ---
  // Read from bdr.progress: sets the origin's committed position, also back (PostgreSQL lost
  // commits that it had not flushed). True if it went back.
  bool ResetCommitted(OriginId origin, Lsn committed);
  // A group was committed; local WAL had reached `local_after` by then.
  // False, and nothing is taken over, if the server may have been restarted since `server_life` was
  // asked for: the commit may be lost, whatever became of the session. Read the progress again.
  bool Committed(OriginId origin, Lsn committed, Lsn local_after, uint64_t server_life);
  // The server's life, to be asked for before the session is opened whose commits are told.
  uint64_t ServerLife() const;
  std::optional<Lsn> CommittedLsn(OriginId origin) const;
  // Which of `waits_for` is not yet committed here; nullopt if all is.
  std::optional<OriginLsn> FirstMissing(const std::vector<OriginLsn>& waits_for) const;
  // Returns when `waited` is committed here, something else moved, or the timeout passed.
  void WaitCommitted(const OriginLsn& waited, absl::Duration timeout) const;

  // --- durability ---
  // Local WAL is flushed up to `flushed`. Returns what is thereby flushed of each origin, as far as
  // the change log holds it: what that has lost, in a crash of this machine, has to come once more,
  // so peers must keep it. To be given to Durable() once the log was synced after this call.
  std::vector<OriginLsn> FlushedThrough(Lsn flushed);
  void Durable(const std::vector<OriginLsn>& durable);
  // PostgreSQL may have been restarted, without commits that it had not flushed: only what
  // bdr.progress says now counts, visible before local WAL reached `local_after`.
  void RestartFlushing(const std::vector<OriginLsn>& visible, Lsn local_after);
  Lsn DurableLsn(OriginId origin) const;

  // --- stability ---
  // All members have it durable: what ends at or before may be forgotten.
  Lsn StableLsn(OriginId origin) const;
  // Own changes that end at or before have been merged again where they had to be, and a crash does
  // not undo it. What comes later must find the versions that it is to be merged with, so it holds
  // back what is stable.
  void OwnMerged(Lsn merged);
  // Nothing older than this can still arrive here, and whatever still arrives had seen everything
  // older than this; 0 while it is not known.
  int64_t StableTime() const;
  // The member for which the stable time waits: it has the least of what all must have, has not
  // been heard of for some seconds, or has joined only in part; else the one whose own promise is
  // the oldest. Unset before the first SetPeers().
  std::optional<NodeId> StableHeldBy() const;
  // The stable time stays before `from_us` from now on: what is stamped then or later may still be
  // needed here. INT64_MAX: no longer.
  void HoldStable(int64_t from_us);

  // Every TRUNCATE of another node than `origin`, this one included, that is not yet applied here
  // or in the version store is later than this; 0 while it is not known. Peers that are behind in
  // apply do not hold it back as long as what was received of them holds none.
  int64_t NoTruncateBefore(OriginId origin) const;

  // The latest promise that a peer made before it published `end_lsn`, so that whatever ends there
  // must be stamped later; 0 if it made none that is known.
  int64_t PromisedBefore(OriginId origin, Lsn end_lsn) const;

  // What an origin itself says of its newest position; 0/0 before its first heartbeat.
  Lsn PublishedLsn(OriginId origin) const;

  // --- StreamBackend ---
  HeartbeatInfo MakeHeartbeat() override;
  void OnHeartbeat(NodeId peer, const HeartbeatInfo& heartbeat) override;
  std::vector<AckInfo> MakeAcks() override;
  void OnAcks(NodeId subscriber, const std::vector<AckInfo>& acks) override;

 private:
  struct Promised {
    Lsn lsn;
    int64_t time_us = 0;
  };
  struct Flushable {
    Lsn local_after;
    Lsn origin_lsn;
  };
  struct Remote {
    std::optional<Lsn> committed;
    std::deque<Flushable> unflushed;
    Lsn flushed;
    Lsn durable;
    Lsn published;
    Lsn stable;
    int64_t stable_us = 0;
    NodeId stable_held_by = 0;  // by its own word
    absl::Time heard_at = absl::InfinitePast();
    // Promises for whoever has committed the origin's changes up to there; the first is in force
    // or comes next.
    std::deque<Promised> promises;
  };
  static void Thin(std::deque<Promised>* promises);
  static void AddPromiseLocked(Remote* remote, const Promised& promise);
  void UpdateOwnStableLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Who has the least of our own origin durable (we ourselves, if we have still to merge some of it
  // again), or, if all have all, of whom what is still to come has seen the least; 0 if it is us.
  NodeId OwnHeldByLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const OriginId own_;
  const ChangeLog* const log_;
  AppliedHistory* const history_;

  mutable Mutex mu_;
  mutable CondVar moved_;
  std::vector<OriginId> peers_ ABSL_GUARDED_BY(mu_);
  bool peers_known_ ABSL_GUARDED_BY(mu_) = false;
  std::map<OriginId, Remote> remotes_ ABSL_GUARDED_BY(mu_);
  std::map<NodeId, Lsn> own_durable_at_ ABSL_GUARDED_BY(mu_);
  Lsn published_ ABSL_GUARDED_BY(mu_);
  int64_t promise_us_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t settled_us_ ABSL_GUARDED_BY(mu_) = 0;         // promised, and seen by all that is to come
  NodeId least_seen_ ABSL_GUARDED_BY(mu_) = 0;          // who keeps settled_us_ from the promise
  std::deque<Promised> promises_ ABSL_GUARDED_BY(mu_);  // own, not yet stable
  Lsn own_merged_ ABSL_GUARDED_BY(mu_);
  Lsn own_stable_ ABSL_GUARDED_BY(mu_);
  int64_t own_stable_us_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t server_life_ ABSL_GUARDED_BY(mu_) = 0;  // grows with every RestartFlushing()
  int64_t stable_held_us_ ABSL_GUARDED_BY(mu_) = INT64_MAX;
  int64_t clock_us_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Time clock_read_at_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::agent
