// Users who insert rows without a key, on every node, and what they were told.
//
// Every id that anybody was told is kept, of transactions that were rolled back or whose outcome is
// not known as well; rows tell those of which the answer was lost. No id may be there twice.
//
// There is one exception, which is PostgreSQL's own: what a sequence gave out in a transaction that
// was not committed it may give out again after a crash, as nothing of it was flushed. It holds for
// methods that count by PostgreSQL's sequence alone, or go by its clock, and not for galloc, whose
// registers a crash empties. Of gapless, whose numbers come back with every rollback, it is asked
// of committed rows alone; they have no gap.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "tests/chaos/findings.h"
#include "tests/chaos/plan.h"
#include "tests/harness/cluster.h"

namespace bdr::chaos {

struct DrawnId {
  int64_t id = 0;
  int64_t statement = 0;  // unique in the run
  int64_t life = 0;       // when the server was started that gave it out
  int node = 0;
  bool row = false;        // it is the key of a row, if the transaction was committed
  bool committed = false;  // for sure
};

// Thread-safe.
class DrawnIds {
 public:
  explicit DrawnIds(size_t sequences) : of_(sequences) {}
  void Add(size_t sequence, const std::vector<DrawnId>& ids) {
    MutexLock lock(&mu_);
    of_[sequence].insert(of_[sequence].end(), ids.begin(), ids.end());
  }
  std::vector<DrawnId> Of(size_t sequence) const {
    MutexLock lock(&mu_);
    return of_[sequence];
  }
  int64_t count() const;
  int64_t TakeStatement() { return ++statements_; }

 private:
  std::atomic<int64_t> statements_{0};
  mutable Mutex mu_;
  std::vector<std::vector<DrawnId>> of_ ABSL_GUARDED_BY(mu_);
};

// Some threads for each node, until Stop().
class Drawers {
 public:
  Drawers(const Plan& plan, const harness::Cluster* cluster, DrawnIds* ids, Findings* findings);
  ~Drawers() { Stop(); }
  Drawers(const Drawers&) = delete;
  Drawers& operator=(const Drawers&) = delete;
  void Stop();

 private:
  class User;

  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

// Once the nodes have converged. An error if something could not be looked at.
absl::Status CheckSequences(const Plan& plan, const harness::Cluster& cluster, const DrawnIds& ids,
                            Findings* findings);

}  // namespace bdr::chaos
