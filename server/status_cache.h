// What each node last said of itself.
//
// In memory: agents report every second, so a server that was started again knows as much within a
// second. Where several servers share a store each of them must be able to tell what was reported
// to another one: there it is written to the store as well, every two seconds for each node, or at
// once when a node's health changes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "server/store/store.h"

namespace bdr::v1 {
class NodeStatus;
}

namespace bdr::server {

// Thread-safe. Nothing waits for the store with the lock held.
class StatusCache {
 public:
  struct Reported {
    std::shared_ptr<const v1::NodeStatus> status;  // null: only the time is known
    int64_t received_us = 0;  // clock of the server that received it, µs since 1970
    // Why the last report in this node's name that could not be its own was refused, and when.
    std::string refused = "";
    int64_t refused_us = 0;
  };

  // `store` outlives it; null, or one that nobody shares: in memory only.
  explicit StatusCache(Store* store = nullptr)
      : store_(store != nullptr && !store->exclusive() ? store : nullptr) {}

  // The errors are the store's: others do not see it yet, and the next report tries again.
  absl::Status Set(const std::string& node, std::shared_ptr<const v1::NodeStatus> status,
                   int64_t received_us);
  absl::Status Refuse(const std::string& node, std::string why, int64_t refused_us);
  // Of a node that was removed.
  absl::Status Forget(const std::string& node);

  // By node; of what several servers heard the newest.
  absl::StatusOr<std::map<std::string, Reported>> All() const;

 private:
  struct Known {
    Reported reported;
    absl::Time received = absl::InfinitePast();  // SteadyNow(); by this server
    absl::Time shared = absl::InfinitePast();    // SteadyNow()
    std::string shared_health;                   // what it was then
  };

  absl::Status Share(const std::string& node);

  Store* const store_;  // null: not shared
  mutable Mutex mu_;
  std::map<std::string, Known> by_node_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::server
