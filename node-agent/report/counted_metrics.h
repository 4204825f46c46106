// What /metrics shows beyond the status: what the parts of a running agent have counted.
#pragma once

#include <cstdint>
#include <vector>

#include "base/metrics.h"
#include "node-agent/report/peer_status.h"

namespace bdr::agent {

struct Counted {
  bool postgres_up = false;
  uint64_t capture_errors = 0;
  uint64_t compactions = 0;
  std::vector<PeerStatus> peers = {};
};

// Sets them in `metrics`, which has been made with AgentMetrics(). Totals, so that a scrape that
// comes twice counts nothing twice.
void ShowCounted(const Counted& counted, Metrics* metrics);

}  // namespace bdr::agent
