#include "node-agent/positions/applied_history.h"

#include <algorithm>

namespace bdr::agent {

void AppliedHistory::Begin(OriginId origin, Lsn origin_lsn, int64_t stamp_us, Lsn local_before) {
  MutexLock lock(&mu_);
  std::deque<Group>& groups = origins_[origin].groups;
  // An earlier attempt at the same transactions was rolled back.
  while (!groups.empty() && groups.back().local_after.value == UINT64_MAX) groups.pop_back();
  groups.push_back({.origin_lsn = origin_lsn, .stamp_us = stamp_us, .local_before = local_before});
}

void AppliedHistory::Finish(OriginId origin, Lsn local_after) {
  MutexLock lock(&mu_);
  std::deque<Group>& groups = origins_[origin].groups;
  if (!groups.empty()) groups.back().local_after = local_after;
}

void AppliedHistory::Reset(OriginId origin, Lsn origin_lsn, int64_t stamp_us, Lsn local_after) {
  MutexLock lock(&mu_);
  Origin& state = origins_[origin];
  std::deque<Group>& groups = state.groups;
  while (!groups.empty() && groups.back().origin_lsn > origin_lsn) groups.pop_back();
  TakeBack(state, origin_lsn, stamp_us);
  for (Group& group : groups) group.local_after = std::min(group.local_after, local_after);
  if (groups.empty() ? state.lsn < origin_lsn : groups.back().origin_lsn < origin_lsn) {
    // Committed at a time that nobody here remembers, so perhaps before anything.
    groups.push_back({.origin_lsn = origin_lsn,
                      .stamp_us = stamp_us,
                      .local_before = Lsn{0},
                      .local_after = local_after});
  }
}

void AppliedHistory::TakeBack(Origin& origin, Lsn origin_lsn, int64_t stamp_us) {
  if (origin.lsn <= origin_lsn) return;
  // The server crashed and lost commits. Local ones that are still to be asked for lie before
  // them in the WAL, or come after this call: neither had seen what was lost.
  origin.lsn = origin_lsn;
  origin.stamp_us = std::min(origin.stamp_us, stamp_us);
  origin.seen_us = std::min(origin.seen_us, stamp_us);
}

std::vector<OriginLsn> AppliedHistory::Finished() const {
  MutexLock lock(&mu_);
  std::vector<OriginLsn> finished;
  for (const auto& [id, origin] : origins_) {
    Lsn lsn = origin.lsn;
    for (const Group& group : origin.groups) {
      if (group.local_after.value != UINT64_MAX) lsn = group.origin_lsn;
    }
    finished.push_back({.origin = id, .lsn = lsn});
  }
  return finished;
}

void AppliedHistory::Lost(OriginId origin, Lsn finished, Lsn visible_lsn,
                          int64_t visible_stamp_us) {
  if (finished <= visible_lsn) return;
  MutexLock lock(&mu_);
  Origin& state = origins_[origin];
  std::erase_if(state.groups, [&](const Group& group) {
    return group.origin_lsn > visible_lsn && group.origin_lsn <= finished;
  });
  TakeBack(state, visible_lsn, visible_stamp_us);
}

void AppliedHistory::AddPromise(OriginId origin, Lsn origin_lsn, int64_t promise_us) {
  MutexLock lock(&mu_);
  std::deque<Promise>& promises = origins_[origin].promises;
  if (!promises.empty()) {
    Promise& last = promises.back();
    // An old heartbeat that was overtaken. Its promise holds, but a newer one will do; the newer
    // one says nothing of the older position.
    if (origin_lsn < last.origin_lsn) return;
    if (origin_lsn == last.origin_lsn) {
      last.time_us = std::max(last.time_us, promise_us);
      return;
    }
  }
  promises.push_back({.origin_lsn = origin_lsn, .time_us = promise_us});
}

std::map<OriginId, int64_t> AppliedHistory::NewestStamps() const {
  MutexLock lock(&mu_);
  std::map<OriginId, int64_t> newest;
  for (const auto& [id, origin] : origins_) {
    // Stamps of an origin rise with its positions.
    newest[id] = origin.groups.empty() ? origin.stamp_us
                                       : std::max(origin.stamp_us, origin.groups.back().stamp_us);
  }
  return newest;
}

int64_t AppliedHistory::NewestStamp() const {
  int64_t newest_us = 0;
  for (const auto& [id, stamp_us] : NewestStamps()) newest_us = std::max(newest_us, stamp_us);
  return newest_us;
}

AppliedHistory::Snapshot AppliedHistory::At(Lsn local_commit_lsn) const {
  MutexLock lock(&mu_);
  Snapshot snapshot;
  for (const auto& [id, origin] : origins_) {
    Lsn seen = origin.lsn;
    int64_t stamp_us = origin.stamp_us;
    auto group = origin.groups.begin();
    for (; group != origin.groups.end() && group->local_after <= local_commit_lsn; ++group) {
      seen = group->origin_lsn;
      stamp_us = std::max(stamp_us, group->stamp_us);
    }
    int64_t seen_us = std::max(origin.seen_us, stamp_us);
    for (const Promise& promise : origin.promises) {
      if (promise.origin_lsn > seen) break;
      seen_us = std::max(seen_us, promise.time_us);
    }
    Lsn waits_for = seen;
    int64_t newest_us = stamp_us;
    for (; group != origin.groups.end() && group->local_before < local_commit_lsn; ++group) {
      waits_for = group->origin_lsn;
      newest_us = std::max(newest_us, group->stamp_us);
    }
    if (waits_for.valid()) snapshot.waits_for.push_back({.origin = id, .lsn = waits_for});
    if (seen_us != 0) snapshot.seen.push_back({.node = id.node, .time_us = seen_us});
    snapshot.newest_stamp_us = std::max(snapshot.newest_stamp_us, newest_us);
  }
  return snapshot;
}

void AppliedHistory::Fold(Lsn local_lsn) {
  MutexLock lock(&mu_);
  for (auto& [id, origin] : origins_) {
    while (!origin.groups.empty() && origin.groups.front().local_after <= local_lsn) {
      origin.lsn = origin.groups.front().origin_lsn;
      origin.stamp_us = std::max(origin.stamp_us, origin.groups.front().stamp_us);
      origin.groups.pop_front();
    }
    origin.seen_us = std::max(origin.seen_us, origin.stamp_us);
    while (!origin.promises.empty() && origin.promises.front().origin_lsn <= origin.lsn) {
      origin.seen_us = std::max(origin.seen_us, origin.promises.front().time_us);
      origin.promises.pop_front();
    }
  }
}

}  // namespace bdr::agent
