// Locks of the whole cluster: named, queued, each held under a lease of the store.
//
// A ticket is one key, "lock/NAME/TICKET" (bdr.v1.LockTicket), with a lease of its own. The store
// numbers its writes, so the tickets of a name are a queue by the revisions of their first write,
// and the first of them holds the lock. Nothing else says who holds it, and no server's clock or
// memory has a part in it. A ticket begins with a short lease, which whoever waits renews by
// asking; the one that is found to hold the lock is written once more, with a lease of the time
// asked for.
//
// The fencing token is the revision of that first write above "token_base", a number that grows
// whenever the content comes to another store, whose revisions may be lower: so tokens only ever
// grow.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bdr/v1/locks.pb.h"
#include "server/store/store.h"

namespace bdr::server {

// Thread-safe: holds nothing. Errors beside those named are the store's.
class Locks {
 public:
  // `store` outlives it.
  explicit Locks(Store* store) : store_(store) {}

  // As the RPC. kInvalidArgument for words and times that there cannot be; kAlreadyExists if the
  // ticket is somebody else's.
  absl::StatusOr<v1::AcquireLockResponse> Acquire(const v1::AcquireLockRequest& request,
                                                  int64_t now_us);
  // Before Acquire() for a node, whose certificate must not do to fill the store:
  // kFailedPrecondition if its owner has 100 tickets, kInvalidArgument if it is for longer than ten
  // minutes.
  absl::Status CheckLimitsOfNode(const v1::AcquireLockRequest& request);
  // Whether there was such a ticket. kPermissionDenied if `owner` is not empty and not its owner.
  absl::StatusOr<bool> Release(const std::string& name, const std::string& ticket,
                               const std::string& owner);
  // By name; the holder of each first, then who waits, in order.
  absl::StatusOr<std::vector<v1::LockTicket>> List();

  // What a write that is done under the lock compares in its own transaction: it fails once the
  // lock was lost. kAborted if it was already, or is not held yet.
  absl::StatusOr<StoreCompare> Fence(const std::string& name, const std::string& ticket,
                                     uint64_t token);

 private:
  absl::StatusOr<std::vector<v1::LockTicket>> Queue(const std::string& prefix);

  Store* const store_;
};

// For moving the content of `store` elsewhere: kFailedPrecondition, with their names, if there are
// any tickets.
absl::Status CheckNoneHeld(Store* store);
// The "token_base" that keeps tokens growing in the store that the content of `store` goes to.
absl::StatusOr<uint64_t> NextTokenBase(Store* store, int64_t now_us);

}  // namespace bdr::server
