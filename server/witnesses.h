// What each agent last told of the cluster that it belongs to. In memory only, as statuses: agents
// that no bdr-server answers tell it every few seconds.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "server/rebuild.h"

namespace bdr::server {

// Thread-safe.
class Witnesses {
 public:
  void Set(Witness witness, int64_t now_us) {
    MutexLock lock(&mu_);
    std::string node = witness.node;
    by_node_[std::move(node)] = {std::move(witness), now_us};
  }

  // Of those who have reported at `since_us` or later, by name.
  std::vector<Witness> Since(int64_t since_us) const {
    std::vector<Witness> heard;
    MutexLock lock(&mu_);
    for (const auto& [node, told] : by_node_) {
      if (told.second >= since_us) heard.push_back(told.first);
    }
    return heard;
  }

 private:
  mutable Mutex mu_;
  std::map<std::string, std::pair<Witness, int64_t>> by_node_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::server
