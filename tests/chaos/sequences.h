// Tables whose keys come from sequences that nodes share (docs/sequences.md): which there are, and
// an administrator who converts some of them while users draw, and whose bdrctl is killed.
//
// drawers.h has the users, and what must hold of what they drew.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "tests/chaos/plan.h"
#include "tests/harness/cluster.h"

namespace bdr::chaos {

// Chooses the sequences of a plan, if its profile has any.
void ChooseSequences(Plan* plan);
std::string SequencesDdl(const Plan& plan);
// Each has its first method on all nodes when it returns.
absl::Status ConvertAll(const Plan& plan, const harness::Cluster& cluster);

// Not thread-safe.
class SequenceConverter {
 public:
  // Until Stop() it converts one sequence after the other.
  SequenceConverter(const Plan& plan, const harness::Cluster* cluster,
                    std::function<void(const std::string&)> log);
  ~SequenceConverter() { Stop(); }
  SequenceConverter(const SequenceConverter&) = delete;
  SequenceConverter& operator=(const SequenceConverter&) = delete;

  void Stop();
  // After Stop(), once all is healed: brings to its end what was cut off. Afterwards every node can
  // draw from every sequence; kDeadlineExceeded if one cannot.
  absl::Status Finish();
  int converted() const { return converted_; }  // to the end
  int cut_off() const { return cut_off_; }

 private:
  // Of one sequence that is converted during the run.
  struct Goal {
    const SequenceSpec* sequence = nullptr;
    std::string method = "";  // that it has, or is on its way to
    int slots = 0;            // of the stepped methods
    int slots_before = 0;     // what it surely has had
    bool reached = true;
  };

  void Run();
  void ConvertOne();
  void ChooseGoal(Goal* goal);

  const Plan& plan_;
  const harness::Cluster* const cluster_;
  const std::function<void(const std::string&)> log_;
  Random random_;  // the thread's, as what follows, until Stop()
  std::vector<Goal> goals_;
  std::atomic<int> converted_{0};
  std::atomic<int> cut_off_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace bdr::chaos
