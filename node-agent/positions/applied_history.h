// Which remote transactions had been applied here when a local one committed.
//
// Every local transaction carries that with it: rounded up, as what a subscriber waits for before
// it shows the transaction (causal order); rounded down, as what the transaction had surely seen
// (to tell a conflict from a successor).
//
// An applier does not learn at which byte of the local WAL its group committed, only that it lies
// between a position read before COMMIT was sent and one read after it was answered. Local commits
// inside that interval may or may not have seen the group; so the group counts for waiting, and not
// for having been seen. Waiting for too much is harmless: a group that is being applied was
// published by its origin before, so nothing can wait for itself.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "base/lsn.h"
#include "base/mutex.h"
#include "base/origin.h"
#include "node-agent/changelog/block.h"

namespace bdr::agent {

// Thread-safe; no call blocks.
class AppliedHistory {
 public:
  // A group of `origin` up to `origin_lsn`, whose newest stamp is `stamp_us`, is about to be
  // committed; local WAL had reached `local_before` before. One group per origin at a time.
  void Begin(OriginId origin, Lsn origin_lsn, int64_t stamp_us, Lsn local_before);
  // The group was committed before local WAL reached `local_after`.
  void Finish(OriginId origin, Lsn local_after);

  // What bdr.progress says, read while local WAL had reached `local_after`: everything up to
  // `origin_lsn` is committed, everything later that Begin() announced is not.
  void Reset(OriginId origin, Lsn origin_lsn, int64_t stamp_us, Lsn local_after);

  // How far each origin's groups were finished.
  std::vector<OriginLsn> Finished() const;
  // The server may have been restarted since `finished` was asked for, without what it had not
  // flushed: of that, only what ends at or before `visible_lsn` is there. Groups begun later are
  // left alone.
  void Lost(OriginId origin, Lsn finished, Lsn visible_lsn, int64_t visible_stamp_us);

  // The origin's promise: whoever applied it up to `origin_lsn` has seen every stamp of it up to
  // `promise_us`.
  void AddPromise(OriginId origin, Lsn origin_lsn, int64_t promise_us);

  // The newest stamp of all groups that were announced here, of every origin; 0 if none were.
  int64_t NewestStamp() const;
  std::map<OriginId, int64_t> NewestStamps() const;  // of each

  struct Snapshot {
    std::vector<OriginLsn> waits_for;
    std::vector<SeenUntil> seen;
    int64_t newest_stamp_us = 0;  // of all that waits_for covers
  };
  // For a local commit at `local_commit_lsn`, not before what was folded.
  Snapshot At(Lsn local_commit_lsn) const;
  // Every local commit still to be asked for lies at or beyond here, also if the slot's stream
  // breaks and what was not durable is decoded again: forgets what cannot matter to them.
  void Fold(Lsn local_lsn);

 private:
  struct Group {
    Lsn origin_lsn;
    int64_t stamp_us = 0;
    Lsn local_before;
    Lsn local_after{UINT64_MAX};
  };
  struct Promise {
    Lsn origin_lsn;
    int64_t time_us = 0;
  };
  struct Origin {
    // Folded: committed before every local commit that is still to be asked for.
    Lsn lsn;
    int64_t stamp_us = 0;
    int64_t seen_us = 0;
    std::deque<Group> groups;      // by position, later ones last
    std::deque<Promise> promises;  // likewise
  };

  static void TakeBack(Origin& origin, Lsn origin_lsn, int64_t stamp_us);

  mutable Mutex mu_;
  std::map<OriginId, Origin> origins_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::agent
