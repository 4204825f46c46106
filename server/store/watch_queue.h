// What a watch of either store has seen and nobody has taken yet.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/steady_clock.h"
#include "server/store/store.h"

namespace bdr::server {

// Thread-safe.
class WatchQueue {
 public:
  void Offer(StoreEntry entry) {
    MutexLock lock(&mu_);
    std::string key = entry.key;
    pending_[std::move(key)] = std::move(entry);
    changed_.NotifyAll();
  }

  // Nothing comes after this but the error.
  void Lose(absl::Status why) {
    MutexLock lock(&mu_);
    lost_ = std::move(why);
    changed_.NotifyAll();
  }

  // As StoreWatch::Next().
  absl::StatusOr<std::optional<StoreEntry>> Next(absl::Duration timeout) {
    const absl::Time deadline = SteadyNow() + timeout;
    MutexLock lock(&mu_);
    while (pending_.empty()) {
      if (!lost_.ok()) return lost_;
      const absl::Duration left = deadline - SteadyNow();
      if (left <= absl::ZeroDuration()) return std::nullopt;
      changed_.WaitFor(&mu_, left);
    }
    // The oldest first; later writes of a key have replaced its earlier ones.
    auto oldest = pending_.begin();
    for (auto it = pending_.begin(); it != pending_.end(); ++it) {
      if (it->second.revision < oldest->second.revision) oldest = it;
    }
    StoreEntry entry = std::move(oldest->second);
    pending_.erase(oldest);
    return entry;
  }

 private:
  Mutex mu_;
  CondVar changed_;
  // By key, so that a watch which nobody reads holds no more than the store itself.
  std::map<std::string, StoreEntry> pending_ ABSL_GUARDED_BY(mu_);
  absl::Status lost_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::server
