// What happens on every node, each second, for people to watch.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/harness/cluster.h"

namespace bdr::demo {

// Reads the agents' metrics and prints one line for each node, and those `below`. On a terminal the
// lines replace those printed before.
class LiveTable {
 public:
  LiveTable(const harness::Cluster* cluster, bool terminal);

  void Print(const std::string& caption, const std::vector<std::string>& below = {});

 private:
  struct Counters {
    double local = 0;
    double out = 0;
    double in = 0;
  };

  const harness::Cluster* const cluster_;
  const bool terminal_;
  int lines_printed_ = 0;
  absl::Time last_time_;
  std::map<std::string, Counters> last_;
};

}  // namespace bdr::demo
