#include "node-agent/positions/progress.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/steady_clock.h"
#include "base/test_hooks.h"

namespace bdr::agent {
namespace {

// Promises of an origin that are remembered for the stable time. Fewer only make it coarser.
constexpr size_t kMaxPromises = 1024;
// An origin that says nothing for so long is itself what its stable time waits for.
constexpr absl::Duration kSilent = absl::Seconds(3);

}  // namespace

void Progress::SetPeers(std::vector<OriginId> peers) {
  MutexLock lock(&mu_);
  peers_ = std::move(peers);
  peers_known_ = true;
  for (const OriginId& peer : peers_) remotes_.try_emplace(peer);
  UpdateOwnStableLocked();
}

std::vector<OriginId> Progress::Peers() const {
  MutexLock lock(&mu_);
  return peers_;
}

void Progress::Published(Lsn published, int64_t promise_us, const std::vector<SeenUntil>& seen) {
  MutexLock lock(&mu_);
  published_ = std::max(published_, published);
  promise_us_ = std::max(promise_us_, promise_us);
  int64_t settled_us = promise_us_;
  least_seen_ = 0;
  for (const OriginId& peer : peers_) {
    const auto found = std::find_if(seen.begin(), seen.end(),
                                    [&](const SeenUntil& s) { return s.node == peer.node; });
    const int64_t seen_us = found == seen.end() ? 0 : found->time_us;
    if (seen_us >= settled_us) continue;
    settled_us = seen_us;
    least_seen_ = peer.node;
  }
  settled_us_ = std::max(settled_us_, settled_us);
  if (!promises_.empty() && promises_.back().lsn == published_) {
    promises_.back().time_us = settled_us_;
  } else {
    Thin(&promises_);  // a member may be far behind
    promises_.push_back({.lsn = published_, .time_us = settled_us_});
  }
  UpdateOwnStableLocked();
}

void Progress::SetServerClock(int64_t clock_us) {
  MutexLock lock(&mu_);
  clock_us_ = clock_us;
  clock_read_at_ = SteadyNow();
}

int64_t Progress::ServerClock() const {
  MutexLock lock(&mu_);
  if (clock_us_ == 0) return 0;
  return clock_us_ + absl::ToInt64Microseconds(SteadyNow() - clock_read_at_);
}

bool Progress::ResetCommitted(OriginId origin, Lsn committed) {
  MutexLock lock(&mu_);
  Remote& remote = remotes_[origin];
  const bool back = remote.committed.has_value() && *remote.committed > committed;
  remote.committed = committed;
  remote.unflushed.clear();
  // What was flushed cannot be lost; what was not is read from the table again, and is flushed
  // only by later word.
  moved_.NotifyAll();
  return back;
}

bool Progress::Committed(OriginId origin, Lsn committed, Lsn local_after, uint64_t server_life) {
  MutexLock lock(&mu_);
  if (server_life != server_life_) return false;
  Remote& remote = remotes_[origin];
  remote.committed = committed;
  remote.unflushed.push_back({.local_after = local_after, .origin_lsn = committed});
  moved_.NotifyAll();
  return true;
}

uint64_t Progress::ServerLife() const {
  MutexLock lock(&mu_);
  return server_life_;
}

std::optional<Lsn> Progress::CommittedLsn(OriginId origin) const {
  MutexLock lock(&mu_);
  const auto found = remotes_.find(origin);
  return found == remotes_.end() ? std::nullopt : found->second.committed;
}

std::optional<OriginLsn> Progress::FirstMissing(const std::vector<OriginLsn>& waits_for) const {
  MutexLock lock(&mu_);
  for (const OriginLsn& wait : waits_for) {
    if (wait.origin.node == own_.node) continue;  // our own commits are here
    const auto found = remotes_.find(wait.origin);
    if (found == remotes_.end() || found->second.committed.value_or(Lsn{0}) < wait.lsn) return wait;
  }
  return std::nullopt;
}

void Progress::WaitCommitted(const OriginLsn& waited, absl::Duration timeout) const {
  const absl::Time deadline = SteadyNow() + timeout;
  MutexLock lock(&mu_);
  while (true) {
    const auto found = remotes_.find(waited.origin);
    if (found != remotes_.end() && found->second.committed.value_or(Lsn{0}) >= waited.lsn) return;
    const absl::Duration left = deadline - SteadyNow();
    if (left <= absl::ZeroDuration()) return;
    moved_.WaitFor(&mu_, left);
  }
}

std::vector<OriginLsn> Progress::FlushedThrough(Lsn flushed) {
  MutexLock lock(&mu_);
  std::vector<OriginLsn> result;
  for (auto& [origin, remote] : remotes_) {
    while (!remote.unflushed.empty() && remote.unflushed.front().local_after <= flushed) {
      remote.flushed = std::max(remote.flushed, remote.unflushed.front().origin_lsn);
      remote.unflushed.pop_front();
    }
    Lsn kept = remote.flushed;
    if (log_ != nullptr) {
      kept = std::min(
          kept, std::max(log_->CompleteThrough(origin), log_->TrimmedThrough(origin).end_lsn));
    }
    if (kept.valid()) result.push_back({.origin = origin, .lsn = kept});
  }
  return result;
}

void Progress::Durable(const std::vector<OriginLsn>& durable) {
  MutexLock lock(&mu_);
  for (const OriginLsn& item : durable) {
    Lsn& known = remotes_[item.origin].durable;
    known = std::max(known, item.lsn);
  }
}

void Progress::RestartFlushing(const std::vector<OriginLsn>& visible, Lsn local_after) {
  MutexLock lock(&mu_);
  ++server_life_;
  for (auto& [origin, remote] : remotes_) remote.unflushed.clear();
  for (const OriginLsn& item : visible) {
    remotes_[item.origin].unflushed.push_back({.local_after = local_after, .origin_lsn = item.lsn});
  }
}

Lsn Progress::DurableLsn(OriginId origin) const {
  MutexLock lock(&mu_);
  const auto found = remotes_.find(origin);
  return found == remotes_.end() ? Lsn{0} : found->second.durable;
}

void Progress::UpdateOwnStableLocked() {
  // Before the members are known nobody can be said to have anything.
  if (!peers_known_) return;
  Lsn stable = std::min(published_, own_merged_);
  for (const OriginId& peer : peers_) {
    const auto found = own_durable_at_.find(peer.node);
    stable = std::min(stable, found == own_durable_at_.end() ? Lsn{0} : found->second);
  }
  own_stable_ = std::max(own_stable_, stable);
  while (!promises_.empty() && promises_.front().lsn <= own_stable_) {
    own_stable_us_ = std::max(own_stable_us_, promises_.front().time_us);
    if (promises_.size() == 1) break;  // it may still be raised at the same position
    promises_.pop_front();
  }
}

void Progress::OwnMerged(Lsn merged) {
  MutexLock lock(&mu_);
  own_merged_ = std::max(own_merged_, merged);
  UpdateOwnStableLocked();
}

Lsn Progress::StableLsn(OriginId origin) const {
  MutexLock lock(&mu_);
  if (origin == own_) return own_stable_;
  const auto found = remotes_.find(origin);
  return found == remotes_.end() ? Lsn{0} : found->second.stable;
}

int64_t Progress::StableTime() const {
  MutexLock lock(&mu_);
  int64_t stable_us = own_stable_us_;
  for (const OriginId& peer : peers_) {
    const auto found = remotes_.find(peer);
    stable_us = std::min(stable_us, found == remotes_.end() ? 0 : found->second.stable_us);
  }
  return std::min(stable_us, stable_held_us_ - 1);
}

void Progress::HoldStable(int64_t from_us) {
  MutexLock lock(&mu_);
  stable_held_us_ = from_us;
}

NodeId Progress::OwnHeldByLocked() const {
  NodeId holder = 0;
  Lsn least = published_;
  for (const OriginId& peer : peers_) {
    const auto found = own_durable_at_.find(peer.node);
    const Lsn durable = found == own_durable_at_.end() ? Lsn{0} : found->second;
    if (durable >= least) continue;
    least = durable;
    holder = peer.node;
  }
  if (own_merged_ < least) return own_.node;
  return holder != 0 ? holder : least_seen_;
}

std::optional<NodeId> Progress::StableHeldBy() const {
  MutexLock lock(&mu_);
  if (!peers_known_) return std::nullopt;
  int64_t least_us = own_stable_us_;
  OriginId origin = own_;
  for (const OriginId& peer : peers_) {
    const auto found = remotes_.find(peer);
    const int64_t stable_us = found == remotes_.end() ? 0 : found->second.stable_us;
    if (stable_us >= least_us) continue;
    least_us = stable_us;
    origin = peer;
  }
  NodeId holder = 0;
  if (origin == own_) {
    holder = OwnHeldByLocked();
  } else {
    const auto found = remotes_.find(origin);
    const bool silent = found == remotes_.end() || SteadyNow() - found->second.heard_at > kSilent;
    holder = silent ? origin.node : found->second.stable_held_by;
  }
  return holder == 0 ? origin.node : holder;
}

int64_t Progress::NoTruncateBefore(OriginId origin) const {
  MutexLock lock(&mu_);
  int64_t promised_us = promise_us_;
  for (const OriginId& peer : peers_) {
    if (peer == origin) continue;
    int64_t one_us = 0;
    if (const auto found = remotes_.find(peer); found != remotes_.end()) {
      Lsn through = found->second.committed.value_or(Lsn{0});
      if (log_ != nullptr) {
        // In this order: what comes in between is not counted on.
        const Lsn complete = log_->CompleteThrough(peer);
        if (log_->TruncatesThrough(peer) <= through) through = std::max(through, complete);
      }
      for (const Promised& promise : found->second.promises) {
        if (promise.lsn > through) break;
        one_us = promise.time_us;
      }
    }
    promised_us = std::min(promised_us, one_us);
  }
  return promised_us;
}

int64_t Progress::PromisedBefore(OriginId origin, Lsn end_lsn) const {
  MutexLock lock(&mu_);
  const auto found = remotes_.find(origin);
  if (found == remotes_.end()) return 0;
  int64_t promised_us = 0;
  for (const Promised& promise : found->second.promises) {
    if (promise.lsn < end_lsn) promised_us = std::max(promised_us, promise.time_us);
  }
  return promised_us;
}

Lsn Progress::PublishedLsn(OriginId origin) const {
  MutexLock lock(&mu_);
  if (origin == own_) return published_;
  const auto found = remotes_.find(origin);
  return found == remotes_.end() ? Lsn{0} : found->second.published;
}

HeartbeatInfo Progress::MakeHeartbeat() {
  const int64_t clock_us = ServerClock();
  HeartbeatInfo heartbeat;
  heartbeat.clock_us = clock_us;
  const std::vector<OriginId> origins = log_ == nullptr ? std::vector<OriginId>{} : log_->Origins();
  MutexLock lock(&mu_);
  heartbeat.origins.push_back({.origin = own_,
                               .published_lsn = published_,
                               .promise_us = promise_us_,
                               .stable_lsn = own_stable_,
                               .stable_us = own_stable_us_,
                               .stable_held_by = OwnHeldByLocked()});
  for (const OriginId& origin : origins) {
    if (origin == own_) continue;
    const auto found = remotes_.find(origin);
    if (found == remotes_.end()) continue;
    // Relayed blocks are good only where this node would still have them after a crash.
    heartbeat.origins.push_back({.origin = origin,
                                 .published_lsn = found->second.durable,
                                 .stable_lsn = found->second.stable,
                                 .stable_us = found->second.stable_us});
  }
  return heartbeat;
}

void Progress::OnHeartbeat(NodeId peer, const HeartbeatInfo& heartbeat) {
  for (const HeartbeatOrigin& origin : heartbeat.origins) {
    if (origin.origin == own_) continue;
    if (origin.origin.node == peer && origin.promise_us != 0) {
      history_->AddPromise(origin.origin, origin.published_lsn, origin.promise_us);
    }
    MutexLock lock(&mu_);
    Remote& remote = remotes_[origin.origin];
    if (origin.origin.node == peer) {
      remote.published = std::max(remote.published, origin.published_lsn);
      remote.stable_held_by = origin.stable_held_by;
      remote.heard_at = SteadyNow();
      AddPromiseLocked(&remote, {.lsn = origin.published_lsn, .time_us = origin.promise_us});
    }
    remote.stable = std::max(remote.stable, origin.stable_lsn);
    remote.stable_us = std::max(remote.stable_us, origin.stable_us);
  }
}

// The one goes that is missed least, so that those which stay lie all along the way that is still
// to be made.
void Progress::Thin(std::deque<Promised>* promises) {
  if (promises->size() < kMaxPromises) return;
  size_t least = 1;
  int64_t least_us = INT64_MAX;
  for (size_t i = 1; i + 1 < promises->size(); ++i) {
    const int64_t gap_us = (*promises)[i + 1].time_us - (*promises)[i - 1].time_us;
    if (gap_us >= least_us) continue;
    least = i;
    least_us = gap_us;
  }
  promises->erase(promises->begin() + static_cast<std::ptrdiff_t>(least));
}

void Progress::AddPromiseLocked(Remote* remote, const Promised& promise) {
  std::deque<Promised>& promises = remote->promises;
  // Once the next is in force the one before says nothing more.
  while (promises.size() > 1 && promises[1].lsn <= remote->committed.value_or(Lsn{0})) {
    promises.pop_front();
  }
  if (!promises.empty() && promises.back().time_us >= promise.time_us) return;
  if (!promises.empty() && promises.back().lsn >= promise.lsn) {
    promises.back().time_us = promise.time_us;
  } else {
    Thin(&promises);  // the origin may not be applied for days
    promises.push_back(promise);
  }
}

std::vector<AckInfo> Progress::MakeAcks() {
  std::vector<AckInfo> acks;
  std::map<OriginId, Lsn> received;
  for (const OriginId& origin : log_->Origins()) received[origin] = log_->End(origin).end_lsn;
  MutexLock lock(&mu_);
  for (const auto& [origin, remote] : remotes_) {
    acks.push_back({.origin = origin,
                    .received_lsn = received[origin],
                    .durable_lsn = remote.durable,
                    .applied_lsn = remote.committed.value_or(Lsn{0})});
  }
  return acks;
}

void Progress::OnAcks(NodeId subscriber, const std::vector<AckInfo>& acks) {
  MutexLock lock(&mu_);
  for (const AckInfo& ack : acks) {
    if (ack.origin != own_) continue;
    Lsn& known = own_durable_at_[subscriber];
    known =
        std::max(known, BDR_RULE_BROKEN("stable_is_durable") ? ack.received_lsn : ack.durable_lsn);
  }
  UpdateOwnStableLocked();
}

}  // namespace bdr::agent
