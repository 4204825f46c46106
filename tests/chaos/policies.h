// Tables whose rows are folded by a policy (docs/policies.md): which policies a table may have, how
// they are set, and what must hold of them at the end.
//
// In such a table a row is made of several writes, so none of them has to stand as it was made.
// All nodes must be equal all the same. Of counters more can be said: nothing is inserted into or
// deleted from their tables, so each value is the sum of what was added to it.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "tests/chaos/findings.h"
#include "tests/chaos/journal.h"
#include "tests/chaos/plan.h"
#include "tests/harness/cluster.h"

namespace bdr::chaos {

// Columns of a table of kind kFolded or kCounter, as SQL, and the values that users write.
std::string FoldedColumns(Random& random, TableSpec* table);
// What follows CREATE TABLE.
std::string FoldedDdl(const TableSpec& table);
// Chooses policies for the tables of a plan.
void ChoosePolicies(Random& random, Plan* plan);

// The first policy of each table, in force when it returns.
absl::Status SetPolicies(const Plan& plan, const harness::Cluster& cluster);

// Gives tables other policies while users write, if the plan says so. Not thread-safe.
class PolicySwitcher {
 public:
  PolicySwitcher(const Plan& plan, const harness::Cluster* cluster,
                 std::function<void(const std::string&)> log);
  ~PolicySwitcher() { Stop(); }
  void Stop();
  int switched() const { return switched_; }

 private:
  void Run();

  const Plan& plan_;
  const harness::Cluster* const cluster_;
  const std::function<void(const std::string&)> log_;
  Random random_;
  std::atomic<bool> stop_{false};
  std::atomic<int> switched_{0};
  std::thread thread_;
};

// Every counter is the sum of what committed transactions added to it.
absl::Status CheckCounters(const Plan& plan, const harness::Cluster& cluster,
                           const Journal& journal, Findings* findings);

}  // namespace bdr::chaos
