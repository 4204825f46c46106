// Users at work on the random tables of every node at once, with a journal of what they did.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/chaos/client.h"
#include "tests/chaos/findings.h"
#include "tests/chaos/journal.h"
#include "tests/chaos/plan.h"
#include "tests/harness/cluster.h"

namespace bdr::chaos {

class Workload {
 public:
  static std::string Schema();

  Workload(const Plan& plan, const harness::Cluster* cluster, Journal* journal, Findings* findings);
  ~Workload();  // stops
  void Stop();

 private:
  class User;
  const Plan& plan_;
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

}  // namespace bdr::chaos
