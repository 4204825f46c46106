// Own changes that may have to be merged once more, on their way from capture to the applier that
// does so.
//
// A local change is in the database already, so nothing need be done with it, unless an applier
// decided about the same row before the change was captured: it saw no row where a newer delete had
// been, or a commit time below the row's stamp. Such changes are merged again, under the same rule
// as everybody else's.
//
// What is waiting here is lost in a crash. So low_water() is written down from time to time, and
// after a start every own change behind it counts as one to be merged.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
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
  void Add(OwnChange change) {
    MutexLock lock(&mu_);
    waiting_.push_back(std::move(change));
    added_.NotifyAll();
  }

  // Capture has looked at everything that ends at or before `own_lsn`.
  void Looked(Lsn own_lsn) {
    MutexLock lock(&mu_);
    looked_ = std::max(looked_, own_lsn);
  }

  // The first `most` that wait, after at most `timeout`. They count as waiting until Done().
  std::vector<OwnChange> Take(size_t most, absl::Duration timeout) {
    const absl::Time deadline = SteadyNow() + timeout;
    MutexLock lock(&mu_);
    while (waiting_.empty() && SteadyNow() < deadline) {
      added_.WaitFor(&mu_, deadline - SteadyNow());
    }
    std::vector<OwnChange> taken;
    while (taken.size() < most && !waiting_.empty()) {
      if (taken.empty()) oldest_taken_ = waiting_.front().header.end_lsn;
      taken.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    }
    return taken;
  }
  void Done() {
    MutexLock lock(&mu_);
    oldest_taken_ = Lsn{};
  }

  // From a start until what lies behind `own_lsn` was read from the log and merged again.
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
    return looked_;
  }

 private:
  mutable Mutex mu_;
  CondVar added_;
  std::deque<OwnChange> waiting_ ABSL_GUARDED_BY(mu_);
  Lsn oldest_taken_ ABSL_GUARDED_BY(mu_);
  Lsn looked_ ABSL_GUARDED_BY(mu_);
  bool replaying_ ABSL_GUARDED_BY(mu_) = false;
  Lsn replayed_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::agent
