// For each rule that can be broken (base/test_hooks.h) a small story in which leaving it out shows:
// a fixed order of writes, faults and healing, and what must hold at its end.
//
// Random runs find most of these sooner or later; here each is found every time, in seconds. The
// same stories are played with all rules kept: then nothing may be found.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/harness/cluster.h"

namespace bdr::chaos {

// One story on a cluster of three nodes with links that can fail, machines that can crash and
// clocks that can be set; each uses a table `story` (id int, v text) of its own rows.
class Stage {
 public:
  Stage(harness::Cluster* cluster, bool broken) : cluster_(cluster), broken_(broken) {}

  harness::Cluster& cluster() const { return *cluster_; }
  absl::Status Exec(const std::string& node, const std::string& sql) const {
    return cluster_->Exec(node, sql);
  }
  // Waits for what must come to pass whether or not the rule is kept.
  absl::Status WaitForValue(const std::string& node, const std::string& sql,
                            const std::string& value) const;
  absl::Status WaitUntil(const std::string& what,
                         const std::function<absl::StatusOr<bool>()>& condition) const;
  // Everything this node wrote so far is in its agent's log.
  absl::Status WaitUntilCaptured(const std::string& node) const;
  // Stops what sends a node's WAL to its agent, and lets it go on.
  absl::Status PauseCapture(const std::string& node) const;
  absl::Status ResumeCapture(const std::string& node) const;
  // Healed, all nodes become equal. kDataLoss if they do not.
  absl::Status HealAndConverge() const;
  // kDataLoss.
  absl::Status Found(const std::string& what) const;

 private:
  absl::StatusOr<int> SenderOf(const std::string& node) const;
  absl::Duration deadline() const { return absl::Seconds(60); }

  harness::Cluster* const cluster_;
  const bool broken_;
};

struct Scenario {
  std::string rule;
  std::string story;     // in a line, for people
  std::string evidence;  // what the finding must say, if the rule is broken
  std::function<absl::Status(const Stage&)> play;
  std::string habits = {};  // BDR_STRESS
};
const std::vector<Scenario>& Scenarios();

struct Proof {
  bool found = false;
  std::string what;            // was found
  absl::Duration until_found;  // from the story's begin on; of all of it where nothing was found
};
// Plays it on a cluster of its own. With `broken` its rule is broken in all agents. An error means
// that it could not be played.
absl::StatusOr<Proof> Play(const Scenario& scenario, bool broken);
// All of them, with all rules kept, one after the other on one cluster. kDataLoss names the one
// that found something.
absl::Status PlayAllKept();

}  // namespace bdr::chaos
