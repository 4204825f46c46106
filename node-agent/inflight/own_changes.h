// Own changes that may have to be merged once more, on their way from capture to the applier that
// does so.
//
// A local change is in the database already, so nothing need be done with it, unless an applier
// decided about the same row before the change was captured: it saw no row where a newer delete had
// been, or a commit time below the row's stamp. Such changes are merged again, under the same rule
// as everybody else's.
//
// What waits here is bounded in bytes. What does not fit is dropped, and read from the log again
// once the rest is done: then every own change in that part of the log is merged again, touched or
// not, which costs work and does no harm.
//
// What is waiting here is lost in a crash. So low_water() is written down from time to time, and
// after a start every own change behind it counts as one to be merged.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/lsn.h"
#include "base/mutex.h"
#include "base/steady_clock.h"
#include "node-agent/changelog/block.h"
#include "postgres/pgoutput.h"

namespace bdr::agent {

struct OwnChange {
  TransactionHeader header;
  std::string relation;  // pgoutput's Relation message
  postgres::RelationMessage relation_message;
  std::vector<std::string> types;  // Type messages of the relation's columns
  std::string change;              // pgoutput's Insert, Update, Delete or Truncate
};

// Thread-safe.
class OwnChanges {
 public:
  explicit OwnChanges(size_t most_bytes = 16 << 20) : most_bytes_(most_bytes) {}

  // Changes come in the order of their transactions.
  void Add(OwnChange change) {
    const size_t bytes = Bytes(change);
    MutexLock lock(&mu_);
    if (!dropped_ && !waiting_.empty() && waiting_bytes_ + bytes > most_bytes_) {
      dropped_ = true;
      dropped_after_ = Lsn{change.header.end_lsn.value - 1};
    }
    if (dropped_) {
      dropped_through_ = std::max(dropped_through_, change.header.end_lsn);
    } else {
      waiting_bytes_ += bytes;
      waiting_.push_back(std::move(change));
    }
    added_.NotifyAll();
  }

  // Own transactions beyond `after`, up to and including `through`.
  struct Range {
    Lsn after;
    Lsn through;
  };
  // Changes that were dropped because too much waited, once nothing waits any more: to be read from
  // the log (which may not have all of it yet) and merged again. As BeginReplay(after).
  std::optional<Range> TakeDropped() {
    MutexLock lock(&mu_);
    if (!dropped_ || !waiting_.empty() || oldest_taken_.valid()) return std::nullopt;
    const Range range{.after = dropped_after_, .through = dropped_through_};
    dropped_ = false;
    dropped_through_ = Lsn{};
    replaying_ = true;
    replayed_ = range.after;
    return range;
  }

  // Capture has looked at everything that ends at or before `own_lsn`.
  void Looked(Lsn own_lsn) {
    MutexLock lock(&mu_);
    looked_ = std::max(looked_, own_lsn);
  }

  // The first `most` that wait, or fewer if they are large, after at most `timeout`. They count as
  // waiting until Done().
  std::vector<OwnChange> Take(size_t most, absl::Duration timeout) {
    const absl::Time deadline = SteadyNow() + timeout;
    MutexLock lock(&mu_);
    const uint64_t wakeups = wakeups_;
    while (waiting_.empty() && wakeups == wakeups_ && SteadyNow() < deadline) {
      added_.WaitFor(&mu_, deadline - SteadyNow());
    }
    std::vector<OwnChange> taken;
    size_t bytes = 0;
    while (taken.size() < most && !waiting_.empty() && bytes < most_bytes_ / 4 + 1) {
      bytes += Bytes(waiting_.front());
      if (taken.empty()) oldest_taken_ = waiting_.front().header.end_lsn;
      taken.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    }
    waiting_bytes_ -= bytes;
    return taken;
  }
  // Ends a Take() that waits (shutdown).
  void Wake() {
    MutexLock lock(&mu_);
    ++wakeups_;
    added_.NotifyAll();
  }
  void Done() {
    MutexLock lock(&mu_);
    oldest_taken_ = Lsn{};
  }

  // A replay lasts from a start until what lies behind `own_lsn` was read from the log and merged
  // again.
  void BeginReplay(Lsn own_lsn) {
    MutexLock lock(&mu_);
    replaying_ = true;
    replayed_ = own_lsn;
  }
  void Replayed(Lsn own_lsn) {
    MutexLock lock(&mu_);
    replayed_ = own_lsn;
  }
  void EndReplay() {
    MutexLock lock(&mu_);
    replaying_ = false;
  }

  // Every own change that ends at or before has been merged again where it had to be.
  Lsn low_water() const {
    MutexLock lock(&mu_);
    if (replaying_) return replayed_;
    if (oldest_taken_.valid()) return Lsn{oldest_taken_.value - 1};
    if (!waiting_.empty()) return Lsn{waiting_.front().header.end_lsn.value - 1};
    if (dropped_) return dropped_after_;
    return looked_;
  }

  // Something is still to be merged again.
  bool waits() const {
    MutexLock lock(&mu_);
    return replaying_ || oldest_taken_.valid() || !waiting_.empty() || dropped_;
  }

  size_t waiting_bytes() const {
    MutexLock lock(&mu_);
    return waiting_bytes_;
  }

 private:
  // With what a change takes beside its bytes.
  static size_t Bytes(const OwnChange& change) {
    constexpr size_t kBeside = 512;
    return change.change.size() + change.relation.size() + kBeside;
  }

  const size_t most_bytes_;
  mutable Mutex mu_;
  CondVar added_;
  uint64_t wakeups_ ABSL_GUARDED_BY(mu_) = 0;
  std::deque<OwnChange> waiting_ ABSL_GUARDED_BY(mu_);
  size_t waiting_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  bool dropped_ ABSL_GUARDED_BY(mu_) = false;
  Lsn dropped_after_ ABSL_GUARDED_BY(mu_);
  Lsn dropped_through_ ABSL_GUARDED_BY(mu_);
  Lsn oldest_taken_ ABSL_GUARDED_BY(mu_);
  Lsn looked_ ABSL_GUARDED_BY(mu_);
  bool replaying_ ABSL_GUARDED_BY(mu_) = false;
  Lsn replayed_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::agent
