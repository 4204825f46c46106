// Works off bdr.fk_action: does about orphaned foreign keys what the constraints' policies say.
//
// Each action is an ordinary transaction of the agent's role: no replication origin, so it is
// captured and goes to every node like a user's write. It looks again whether the row still stands
// and still references nothing, acts, and removes its row of bdr.fk_action: so it happens once,
// whatever is killed, and when several nodes act on one orphan, the newest write wins as always and
// all of them wrote the same.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "postgres/connection.h"

namespace bdr::agent {

// Thread-safe. Owns one thread, with a connection while there is something to do.
class ForeignKeyActions {
 public:
  explicit ForeignKeyActions(std::string conninfo);
  ~ForeignKeyActions();

  // Something may have been queued.
  void Wake();
  // Why the oldest action that failed did; "" if none does.
  std::string failing() const;
  uint64_t done() const;

 private:
  void Run();
  absl::Status WorkOff();
  absl::Status Act(int64_t id);

  const std::string conninfo_;
  std::unique_ptr<postgres::Connection> connection_;  // the thread's
  std::string told_;                                  // the thread's: why it last failed

  mutable Mutex mu_;
  CondVar woken_;
  bool wake_ ABSL_GUARDED_BY(mu_) = true;  // what an earlier agent left
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::string failing_ ABSL_GUARDED_BY(mu_);
  uint64_t done_ ABSL_GUARDED_BY(mu_) = 0;
  std::thread thread_;
};

}  // namespace bdr::agent
