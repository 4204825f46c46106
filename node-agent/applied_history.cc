#include "node-agent/applied_history.h"

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
  for (Group& group : groups) group.local_after = std::min(group.local_after, local_after);
  if (groups.empty() ? state.lsn < origin_lsn : groups.back().origin_lsn < origin_lsn) {
    // Committed at a time that nobody here remembers, so perhaps before anything.
    groups.push_back({.origin_lsn = origin_lsn,
                      .stamp_us = stamp_us,
                      .local_before = Lsn{0},
                      .local_after = local_after});
  }
}

void AppliedHistory::AddPromise(OriginId origin, Lsn origin_lsn, int64_t promise_us) {
  MutexLock lock(&mu_);
  std::deque<Promise>& promises = origins_[origin].promises;
  // Of promises for one position only the last matters.
  while (!promises.empty() && promises.back().origin_lsn >= origin_lsn) {
    promise_us = std::max(promise_us, promises.back().time_us);
    promises.pop_back();
  }
  promises.push_back({.origin_lsn = origin_lsn, .time_us = promise_us});
}

AppliedHistory::Snapshot AppliedHistory::At(Lsn local_commit_lsn) {
  MutexLock lock(&mu_);
  Snapshot snapshot;
  for (auto& [id, origin] : origins_) {
    while (!origin.groups.empty() && origin.groups.front().local_after <= local_commit_lsn) {
      origin.lsn = origin.groups.front().origin_lsn;
      origin.stamp_us = std::max(origin.stamp_us, origin.groups.front().stamp_us);
      origin.groups.pop_front();
    }
    origin.seen_us = std::max(origin.seen_us, origin.stamp_us);
    // The last promise at or before the position stays: more may come for the same position.
    while (!origin.promises.empty() && origin.promises.front().origin_lsn <= origin.lsn) {
      origin.seen_us = std::max(origin.seen_us, origin.promises.front().time_us);
      origin.promises.pop_front();
    }
    Lsn waits_for = origin.lsn;
    int64_t newest_us = origin.stamp_us;
    for (const Group& group : origin.groups) {
      if (group.local_before >= local_commit_lsn) break;
      waits_for = group.origin_lsn;
      newest_us = std::max(newest_us, group.stamp_us);
    }
    if (waits_for.valid()) snapshot.waits_for.push_back({.origin = id, .lsn = waits_for});
    if (origin.seen_us != 0) {
      snapshot.seen.push_back({.node = id.node, .time_us = origin.seen_us});
    }
    snapshot.newest_stamp_us = std::max(snapshot.newest_stamp_us, newest_us);
  }
  return snapshot;
}

}  // namespace bdr::agent
