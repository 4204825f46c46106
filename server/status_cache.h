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
  };

  void Set(const std::string& node, Reported reported) {
    MutexLock lock(&mu_);
    by_node_[node] = std::move(reported);
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
