#include "node-agent/tables/sql_workers.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "base/thread_name.h"

namespace bdr::agent {
namespace {

constexpr char kSessionSql[] =
    "SET default_transaction_read_only = on; SET row_security = off;"
    "SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '60s'";

}  // namespace

SqlWorkers::SqlWorkers(std::string conninfo, int threads) : conninfo_(std::move(conninfo)) {
  for (int i = 0; i < threads; ++i) workers_.push_back(std::make_unique<Worker>());
  for (const auto& worker : workers_) {
    worker->thread = std::thread([this, raw = worker.get()] {
      NameThread("bdr-sql");
      Work(raw);
    });
  }
}

SqlWorkers::~SqlWorkers() {
  Stop();
  {
    MutexLock lock(&mu_);
    // A statement that began after Stop() had sent its cancel would run to its end: cancel again.
    while (running_ > 0) {
      CancelLocked();
      wake_.WaitFor(&mu_, absl::Milliseconds(100));
    }
  }
  for (const auto& worker : workers_) worker->thread.join();
}

// Talks to the server with the lock held: only while stopping, when nobody else waits for it long.
void SqlWorkers::CancelLocked() {
  for (const auto& worker : workers_) {
    if (worker->connection != nullptr) worker->connection->Cancel();
  }
}

void SqlWorkers::Submit(Job job) {
  absl::Status refused;
  {
    MutexLock lock(&mu_);
    if (stopped_) {
      refused = absl::UnavailableError("the agent is stopping; ask again once it runs");
    } else if (waiting_.size() >= kMostWaiting) {
      refused = absl::ResourceExhaustedError(
          absl::StrCat("the agent has ", waiting_.size(), " requests waiting; try again later"));
    } else {
      waiting_.push_back(std::move(job));
      wake_.NotifyOne();
      return;
    }
  }
  job.done(refused);
}

void SqlWorkers::Stop() {
  std::deque<Job> waiting;
  {
    MutexLock lock(&mu_);
    stopped_ = true;
    waiting.swap(waiting_);
    CancelLocked();
    wake_.NotifyAll();
  }
  for (const Job& job : waiting) {
    job.done(absl::UnavailableError("the agent is stopping; ask again once it runs"));
  }
}

void SqlWorkers::Work(Worker* worker) {
  for (;;) {
    Job job;
    {
      MutexLock lock(&mu_);
      while (!stopped_ && waiting_.empty()) wake_.Wait(&mu_);
      if (waiting_.empty()) return;  // stopped, and Stop() has answered the rest
      job = std::move(waiting_.front());
      waiting_.pop_front();
      ++running_;
    }
    job.done(RunJob(worker, job));
    MutexLock lock(&mu_);
    --running_;
    wake_.NotifyAll();
  }
}

absl::Status SqlWorkers::RunJob(Worker* worker, const Job& job) {
  const absl::Time start = absl::Now();
  if (start >= job.deadline) {
    return absl::DeadlineExceededError("the request waited too long for a free connection");
  }
  RETURN_IF_ERROR(Connect(worker));
  // A month is as good as for ever, and PostgreSQL's limit is 24 days of milliseconds.
  const int64_t timeout_ms =
      std::clamp<int64_t>(absl::ToInt64Milliseconds(job.deadline - start), 1, 2000000000);
  RETURN_IF_ERROR(
      worker->connection->Exec(absl::StrCat("SET statement_timeout = ", timeout_ms)).status());
  return job.run(*worker->connection);
}

absl::Status SqlWorkers::Connect(Worker* worker) {
  if (worker->connection != nullptr && !worker->connection->broken() &&
      PQtransactionStatus(worker->connection->raw()) == PQTRANS_IDLE &&
      // The server may have gone since the last request without a word to us.
      worker->connection->Exec("SELECT 1").ok()) {
    return absl::OkStatus();
  }
  {
    MutexLock lock(&mu_);
    worker->connection.reset();
  }
  ASSIGN_OR_RETURN(auto connection,
                   postgres::Connection::Connect(
                       {.conninfo = conninfo_, .application_name = "bdr-agent admin"}));
  RETURN_IF_ERROR(connection->Exec(kSessionSql).status());
  MutexLock lock(&mu_);
  if (stopped_) return absl::UnavailableError("the agent is stopping; ask again once it runs");
  worker->connection = std::move(connection);
  return absl::OkStatus();
}

}  // namespace bdr::agent
