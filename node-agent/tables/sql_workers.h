// A few threads with a PostgreSQL connection each, for requests that nobody's data waits for.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "postgres/connection.h"

namespace bdr::agent {

// Thread-safe.
class SqlWorkers {
 public:
  struct Job {
    // Called on a worker. The connection is open, idle, and in the pinned session state (see
    // kPinnedSession in the .cc); a statement in it ends at the deadline.
    std::function<absl::Status(postgres::Connection&)> run;
    // Called exactly once: with what `run` gave, or why it was not called. It must not call back
    // into this object.
    std::function<void(absl::Status)> done;
    absl::Time deadline = absl::InfiniteFuture();
  };

  SqlWorkers(std::string conninfo, int threads);
  ~SqlWorkers();  // as Stop(), and waits for what runs
  SqlWorkers(const SqlWorkers&) = delete;
  SqlWorkers& operator=(const SqlWorkers&) = delete;

  // kResourceExhausted goes to `done` when too many wait already, kUnavailable after Stop().
  void Submit(Job job);

  // Cancels what runs, and answers what waits with kUnavailable.
  void Stop();

 private:
  static constexpr size_t kMostWaiting = 64;

  struct Worker {
    std::thread thread;
    // Written by its thread with mu_ held, so that Stop() may cancel what runs on it.
    std::unique_ptr<postgres::Connection> connection;
  };

  // Asks the server to cancel what runs on each connection.
  void CancelLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Work(Worker* worker);
  absl::Status RunJob(Worker* worker, const Job& job);
  // An open connection of this worker: the one there is, or a new one.
  absl::Status Connect(Worker* worker);

  const std::string conninfo_;

  Mutex mu_;
  CondVar wake_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  int running_ ABSL_GUARDED_BY(mu_) = 0;
  std::deque<Job> waiting_ ABSL_GUARDED_BY(mu_);
  std::vector<std::unique_ptr<Worker>> workers_;  // constant after construction
};

}  // namespace bdr::agent
