// What is done in the background, by the bdr-server that leads alone: what removed nodes have left
// in the store goes, and the store forgets its history.
#pragma once

#include <memory>
#include <thread>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "server/cluster.h"
#include "server/leadership.h"
#include "server/store/store.h"

namespace bdr::server {

// Removes what the store has of nodes that are no members. Each write compares `fence` and the
// cluster's state that it was decided by: kAborted if either has changed. Nothing before there is a
// cluster, or while it comes from a backup.
absl::Status RemoveLeftovers(Store* store, const StoreCompare& fence);

class Upkeep {
 public:
  // Starts the thread. All must outlive it.
  Upkeep(Store* store, const Leadership* leadership);
  ~Upkeep();
  Upkeep(const Upkeep&) = delete;
  Upkeep& operator=(const Upkeep&) = delete;

 private:
  absl::Status Round();
  void Run();

  Store* const store_;
  const Leadership* const leadership_;

  Mutex mu_;
  CondVar wake_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;

  std::thread thread_;  // last: uses all of the above
};

}  // namespace bdr::server
