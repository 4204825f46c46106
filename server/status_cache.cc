#include "server/status_cache.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "bdr/v1/store.pb.h"
#include "server/store_keys.h"

namespace bdr::server {
namespace {

// Less than half of the time after which a node counts as silent.
constexpr absl::Duration kShareEvery = absl::Seconds(2);

// What must not wait for its turn.
std::string HealthOf(const StatusCache::Reported& reported) {
  if (reported.status == nullptr) return reported.refused;
  return absl::StrCat(reported.status->node().level(), reported.status->node().state(), " ",
                      reported.refused);
}

StatusCache::Reported FromShared(const v1::SharedStatus& shared, int64_t now_us) {
  // Another server's clock may be ahead a little.
  return {.status = shared.has_status() ? std::make_shared<const v1::NodeStatus>(shared.status())
                                        : nullptr,
          .received_us = std::min(shared.received_us(), now_us),
          .refused = shared.refused(),
          .refused_us = std::min(shared.refused_us(), now_us)};
}

}  // namespace

absl::Status StatusCache::Set(const std::string& node, std::shared_ptr<const v1::NodeStatus> status,
                              int64_t received_us) {
  {
    MutexLock lock(&mu_);
    Known& known = by_node_[node];
    known.reported.status = std::move(status);
    known.reported.received_us = received_us;
    known.received = SteadyNow();
  }
  return Share(node);
}

absl::Status StatusCache::Refuse(const std::string& node, std::string why, int64_t refused_us) {
  {
    MutexLock lock(&mu_);
    Known& known = by_node_[node];
    known.reported.refused = std::move(why);
    known.reported.refused_us = refused_us;
  }
  return Share(node);
}

absl::Status StatusCache::Share(const std::string& node) {
  if (store_ == nullptr) return absl::OkStatus();
  v1::SharedStatus shared;
  {
    MutexLock lock(&mu_);
    Known& known = by_node_[node];
    std::string health = HealthOf(known.reported);
    if (SteadyNow() - known.shared < kShareEvery && health == known.shared_health) {
      return absl::OkStatus();
    }
    known.shared = SteadyNow();
    known.shared_health = std::move(health);
    const Reported& reported = known.reported;
    if (reported.status != nullptr) *shared.mutable_status() = *reported.status;
    shared.set_received_us(reported.received_us);
    shared.set_refused(reported.refused);
    shared.set_refused_us(reported.refused_us);
  }
  const absl::Status written = store_
                                   ->Commit({.writes = {{.key = absl::StrCat(kStatusPrefix, node),
                                                         .value = shared.SerializeAsString()}}})
                                   .status();
  if (written.ok()) return written;
  MutexLock lock(&mu_);
  const auto known = by_node_.find(node);
  if (known != by_node_.end()) known->second.shared = absl::InfinitePast();  // the next one tries
  return written;
}

absl::Status StatusCache::Forget(const std::string& node) {
  {
    MutexLock lock(&mu_);
    by_node_.erase(node);
  }
  if (store_ == nullptr) return absl::OkStatus();
  return store_->Commit({.writes = {{.key = absl::StrCat(kStatusPrefix, node)}}}).status();
}

absl::StatusOr<std::map<std::string, StatusCache::Reported>> StatusCache::All() const {
  std::map<std::string, Reported> all;
  if (store_ != nullptr) {
    ASSIGN_OR_RETURN(const std::vector<StoreEntry> entries, store_->List(kStatusPrefix));
    const int64_t now_us = absl::ToUnixMicros(absl::Now());
    for (const StoreEntry& entry : entries) {
      v1::SharedStatus shared;
      if (!shared.ParseFromString(entry.value)) continue;  // of a newer version; written anew
      all[entry.key.substr(sizeof(kStatusPrefix) - 1)] = FromShared(shared, now_us);
    }
  }
  MutexLock lock(&mu_);
  for (const auto& [node, known] : by_node_) {
    Reported& told = all[node];
    Reported newest = known.reported;
    // Who reports to this server is known better here; who has turned to another one is not.
    if (SteadyNow() - known.received > kShareEvery && told.received_us > newest.received_us) {
      newest.status = told.status;
      newest.received_us = told.received_us;
    }
    if (told.refused_us > newest.refused_us) {
      newest.refused = told.refused;
      newest.refused_us = told.refused_us;
    }
    told = std::move(newest);
  }
  return all;
}

}  // namespace bdr::server
