// Users at work: short transactions on several nodes at once, with a record of what was promised.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "tests/harness/cluster.h"

namespace bdr::harness {

// Each worker numbers its transactions. A transaction inserts its number into a table with a key
// and into one without (where a row applied twice shows), and changes rows that all workers fight
// over. A worker that loses its connection connects again and goes on with the next number, so a
// number was acknowledged or its fate is unknown; only acknowledged ones are remembered.
class Load {
 public:
  // The tables it needs, for ClusterOptions::schema_sql.
  static std::string Schema();

  struct Options {
    std::vector<std::string> nodes;  // where to work; all if empty
    int workers_per_node = 2;
    int hot_rows = 50;                            // fewer: more conflicts
    absl::Duration pause = absl::ZeroDuration();  // between transactions of a worker
  };
  Load(Cluster* cluster, Options options);
  ~Load();  // stops
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  void Stop();
  // Acknowledged so far, of all workers.
  int64_t acknowledged() const;
  // Waits for so many more.
  absl::Status WaitForMore(int64_t transactions, absl::Duration deadline) const;
  // Errors other than a lost connection or a serialization failure, the first ones.
  std::vector<std::string> errors() const;

  // After Stop() and convergence: every acknowledged transaction is there on every node, and none
  // is there twice. kDataLoss with what is wrong.
  absl::Status CheckNothingLostNorTwice() const;

 private:
  struct Worker {
    std::string node;
    int number = 0;
    std::vector<int64_t> acknowledged;  // its own until Stop()
    std::thread thread;
  };
  void Run(Worker* worker);

  Cluster* const cluster_;
  const Options options_;
  std::atomic<bool> stop_ = false;
  std::atomic<int64_t> acknowledged_ = 0;
  std::vector<std::unique_ptr<Worker>> workers_;

  mutable Mutex mu_;
  std::vector<std::string> errors_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::harness
