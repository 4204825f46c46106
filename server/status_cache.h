// What each node last said of itself. In memory only: agents report every second, so a server that
// was started again knows as much within a second.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "base/mutex.h"

namespace bdr::v1 {
class NodeStatus;
}

namespace bdr::server {

// Thread-safe.
class StatusCache {
 public:
  struct Reported {
    std::shared_ptr<const v1::NodeStatus> status;  // null: only the time is known
    int64_t received_us = 0;                       // this server's clock, µs since 1970
    // Why the last report in this node's name that could not be its own was refused, and when.
    std::string refused = "";
    int64_t refused_us = 0;
  };

  void Set(const std::string& node, std::shared_ptr<const v1::NodeStatus> status,
           int64_t received_us) {
    MutexLock lock(&mu_);
    Reported& reported = by_node_[node];
    reported.status = std::move(status);
    reported.received_us = received_us;
  }

  void Refuse(const std::string& node, std::string why, int64_t refused_us) {
    MutexLock lock(&mu_);
    Reported& reported = by_node_[node];
    reported.refused = std::move(why);
    reported.refused_us = refused_us;
  }

  // Of a node that was removed.
  void Forget(const std::string& node) {
    MutexLock lock(&mu_);
    by_node_.erase(node);
  }

  std::map<std::string, Reported> All() const {
    MutexLock lock(&mu_);
    return by_node_;
  }

 private:
  mutable Mutex mu_;
  std::map<std::string, Reported> by_node_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::server
