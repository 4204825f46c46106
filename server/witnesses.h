// What each agent that has just reported told of the cluster that it belongs to. In memory only, as
// statuses: agents that no bdr-server answers tell it every few seconds.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "server/rebuild.h"

namespace bdr::server {

// An agent that no bdr-server answers tries again every five seconds, each of its servers in turn.
inline constexpr int64_t kHeardForUs = 30'000'000;

// Thread-safe.
class Witnesses {
 public:
  void Set(Witness witness, int64_t now_us) {
    MutexLock lock(&mu_);
    // Without TLS anybody may report under names without end.
    std::erase_if(by_node_,
                  [&](const auto& told) { return told.second.second < now_us - kHeardForUs; });
    std::string node = witness.node;
    by_node_[std::move(node)] = {std::move(witness), now_us};
  }

  // By name.
  std::vector<Witness> Recent(int64_t now_us) const {
    std::vector<Witness> heard;
    MutexLock lock(&mu_);
    for (const auto& [node, told] : by_node_) {
      if (told.second >= now_us - kHeardForUs) heard.push_back(told.first);
    }
    return heard;
  }

 private:
  mutable Mutex mu_;
  std::map<std::string, std::pair<Witness, int64_t>> by_node_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::server
