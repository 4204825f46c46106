// Tables whose rows must look right at every moment, on every node, and who looks.
//
// chaos_chain: number n is written on a node only after n-1 was read there, each on the next node.
//   Causal order holds where nobody ever sees a hole.
// chaos_account: each node moves money between accounts of its own; the sum of them is the same
//   at every moment, if transactions are seen whole.
// chaos_batch: each node writes all its rows with one number in one transaction, too large for one
//   block; nobody ever sees two numbers.
#pragma once

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/chaos/findings.h"
#include "tests/chaos/plan.h"
#include "tests/harness/cluster.h"

namespace bdr::chaos {

class Witnesses {
 public:
  static std::string Schema(const std::vector<std::string>& nodes);

  Witnesses(const Plan& plan, const harness::Cluster* cluster, Findings* findings);
  ~Witnesses();        // stops
  void StopWriters();  // readers look on
  void Stop();
  // How often somebody looked.
  int64_t looks() const { return looks_; }
  int64_t chain() const { return chain_; }

 private:
  void Write(int node, const std::string& name);
  void Read(const std::string& name);

  const Plan& plan_;
  const harness::Cluster* const cluster_;
  Findings* const findings_;
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> looks_{0};
  std::atomic<int64_t> chain_{0};
  std::atomic<bool> stop_writers_{false};
  std::vector<std::thread> writers_;
  std::vector<std::thread> readers_;
};

}  // namespace bdr::chaos
