// Moves what bdr-server keeps from one store to another, while servers and agents go on.
//
// 1. FROM is marked COPYING: nobody writes to it any more (guarded_store.h).
// 2. TO is marked INCOMING, emptied of all but the servers that run on it, and everything that
// outlives a server is copied and read back.
// 3. FROM is marked MOVED, in one write: from here on TO is the one that counts.
// 4. TO's mark is removed.
// Killed before 3 nothing has happened: FROM counts again, and TO never does before it is done
// again. Killed before 4 neither is used, until the same move is asked for again.
//
// Locks do not move: their leases mean nothing elsewhere, so none may be held. Their tokens go on
// above all that were given out (locks.h).
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "server/store/store.h"

namespace bdr::server {

struct MoveOptions {
  std::string id;         // of this attempt: another one each time
  std::string server_id;  // of the server that copies, as Leadership registers it; may be empty of
                          // an exclusive store
  int64_t now_us = 0;
};

// The number of keys that were copied; 0 if it had been moved there before. Neither store is
// guarded. kFailedPrecondition if TO keeps a cluster or is the same store, if FROM keeps none, if
// the state has left FROM and is not in TO, or if a lock is held; kAborted if somebody else moves
// it at the same time. The caller sees to it that one server has but one under way
// (GuardedStore::Move): what an earlier one left is overwritten.
absl::StatusOr<uint64_t> MoveStore(Store* from, Store* to, const MoveOptions& options);

}  // namespace bdr::server
