// What goes wrong during a run: one fault after the other, and some together, as the seed says.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tests/chaos/findings.h"
#include "tests/chaos/plan.h"
#include "tests/harness/cluster.h"

namespace bdr::chaos {

// Belongs to one thread, which alone starts and stops parts of the cluster.
class Faults {
 public:
  // `log` is told of each beginning and end.
  Faults(const Plan& plan, harness::Cluster* cluster, Findings* findings,
         std::function<void(const std::string&)> log);
  ~Faults();

  // Until then, or until something was found.
  void Run(absl::Time until);
  // Ends all faults and starts what is down. An error names what does not come up again.
  absl::Status HealAll();

  int begun() const { return begun_; }

 private:
  struct Active {
    FaultKind kind;
    std::string what;
    std::string node;  // whose processes it touches; "" if it is none's
    bool network = false;
    absl::Time ends;
    std::function<absl::Status()> end;
  };

  void BeginOne();
  void EndDue(absl::Time now);
  void End(Active& active);
  // Sets `end`; an error if the fault cannot be had now.
  absl::Status Begin(FaultKind kind, Active* active);
  absl::Status BeginNetwork(FaultKind kind, Active* active);
  absl::Status BeginProcess(FaultKind kind, Active* active);
  absl::Status BeginDatabase(FaultKind kind, Active* active);
  absl::Status FillDisk(Active* active);
  absl::Status Freeze(const std::string& node);
  void LookAtAgents();
  bool Busy(const std::string& node) const;

  const Plan& plan_;
  harness::Cluster* const cluster_;
  Findings* const findings_;
  const std::function<void(const std::string&)> log_;
  Random random_;
  const std::vector<std::string> names_;
  std::list<Active> active_;
  int begun_ = 0;
};

}  // namespace bdr::chaos
