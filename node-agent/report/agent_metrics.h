// What bdr-agent shows at /metrics. docs/metrics.md holds the same list; a test compares them.
#pragma once

#include <vector>

#include "base/metrics.h"

namespace bdr::v1 {
class NodeStatus;
}  // namespace bdr::v1

namespace bdr::agent {

// Everything declared, for the constructor of Metrics.
std::vector<MetricInfo> AgentMetrics();

// Sets what NodeStatus tells (health, positions, lag, sizes, counts) in `metrics`. For
// Metrics::OnScrape, so that a scrape and `bdrctl status` never disagree. The rest of the list
// (histograms, conflicts by kind, errors) is counted where it happens.
void ShowStatus(const v1::NodeStatus& status, Metrics* metrics);

}  // namespace bdr::agent
