// What each agent that has just reported told of the cluster that it belongs to.
//
// In memory, as statuses: agents that no bdr-server answers tell it every few seconds. Where
// several servers share a store, what counts for a decision is written there as well, for half a
// minute: each of the agents may have told another server.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "server/rebuild.h"
#include "server/store/store.h"

namespace bdr::server {

// An agent that no bdr-server answers tries again every five seconds, each of its servers in turn.
inline constexpr int64_t kHeardForUs = 30'000'000;

// Thread-safe. Nothing waits for the store with the lock held.
class Witnesses {
 public:
  // `store` outlives it; null, or one that nobody shares: in memory only.
  explicit Witnesses(Store* store = nullptr)
      : store_(store != nullptr && !store->exclusive() ? store : nullptr) {}

  void Set(Witness witness, int64_t now_us);

  // Tells the other servers. For what is not simply what the store has, so for nothing while all is
  // well. The errors are the store's.
  absl::Status Share(const Witness& witness);

  // By name, also those that were shared; of one that several servers heard what has the highest
  // epoch. The errors are the store's: nothing must be decided then
  // that needs everybody.
  absl::StatusOr<std::vector<Witness>> Recent(int64_t now_us) const;

 private:
  Store* const store_;  // null: not shared
  mutable Mutex mu_;
  std::map<std::string, std::pair<Witness, int64_t>> by_node_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::server
