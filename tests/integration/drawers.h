// Users who draw numbers, and what they were told.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "tests/harness/cluster.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {

// One user on each node who runs a statement that returns ids, again and again.
class Drawers {
 public:
  struct Options {
    std::vector<std::string> nodes = {};          // empty: all
    absl::Duration pause = absl::ZeroDuration();  // of each user, between statements
  };
  Drawers(harness::Cluster* cluster, std::string sql)
      : Drawers(cluster, std::move(sql), Options()) {}
  Drawers(harness::Cluster* cluster, std::string sql, Options options)
      : cluster_(cluster), sql_(std::move(sql)), options_(std::move(options)) {
    if (options_.nodes.empty()) options_.nodes = cluster->names();
    for (const std::string& node : options_.nodes)
      threads_.emplace_back([this, node] { Run(node); });
  }
  ~Drawers() { Stop(); }
  Drawers(const Drawers&) = delete;
  Drawers& operator=(const Drawers&) = delete;

  // All that anybody was told; a transaction whose outcome is not known was not.
  std::vector<int64_t> Stop() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    MutexLock lock(&mu_);
    return ids_;
  }
  absl::Status WaitForMore(size_t ids) {
    const size_t goal = count() + ids;
    return harness::WaitFor(absl::StrCat(ids, " more ids by \"", sql_, "\""), kDeadline,
                            [&]() -> absl::StatusOr<bool> { return count() >= goal; });
  }
  // Other than lost connections.
  std::vector<std::string> errors() {
    MutexLock lock(&mu_);
    return errors_;
  }
  const std::string& sql() const { return sql_; }

 private:
  size_t count() {
    MutexLock lock(&mu_);
    return ids_.size();
  }
  void Run(const std::string& node) {
    std::unique_ptr<postgres::Connection> connection;
    while (!stop_) {
      if (connection == nullptr || connection->broken()) {
        auto connected = cluster_->Connect(node);
        if (!connected.ok()) {
          absl::SleepFor(absl::Milliseconds(20));  // Nobody tells when it is back.
          continue;
        }
        connection = *std::move(connected);
      }
      const absl::StatusOr<postgres::Result> rows = connection->Exec(sql_);
      Keep(node, rows, connection->broken());
      absl::SleepFor(options_.pause);
    }
  }
  void Keep(const std::string& node, const absl::StatusOr<postgres::Result>& rows, bool broken) {
    MutexLock lock(&mu_);
    if (!rows.ok()) {
      if (!broken) {
        errors_.push_back(
            absl::StrCat(absl::FormatTime("%H:%M:%E3S", absl::Now(), absl::UTCTimeZone()), " ",
                         node, ": ", rows.status().ToString()));
      }
      return;
    }
    for (int i = 0; i < rows->rows(); ++i) {
      int64_t id = 0;
      if (absl::SimpleAtoi(rows->value(i, 0), &id)) ids_.push_back(id);
    }
  }

  harness::Cluster* const cluster_;
  const std::string sql_;
  Options options_;
  std::atomic<bool> stop_ = false;
  std::vector<std::thread> threads_;
  Mutex mu_;
  std::vector<int64_t> ids_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> errors_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::integration
