// What bdr-server shows at /metrics. docs/metrics.md holds the same list; a test compares them.
#pragma once

#include <vector>

#include "base/metrics.h"

namespace bdr::v1 {
class ClusterStatusResponse;
class SequenceState;
}  // namespace bdr::v1

namespace bdr::server {

// Everything declared, for the constructor of Metrics.
std::vector<MetricInfo> ServerMetrics();

// Sets members and what they last reported in `metrics`. For Metrics::OnScrape.
void ShowCluster(const v1::ClusterStatusResponse& cluster, Metrics* metrics);

// Sets what becomes of the cluster's sequences of method galloc, over all nodes; what a node has in
// reserve its agent shows. One that has another method by now shows that nothing is wrong with it,
// since a series stays for as long as this process runs. For Metrics::OnScrape.
void ShowSequences(const std::vector<v1::SequenceState>& sequences,
                   const v1::ClusterStatusResponse& cluster, Metrics* metrics);

}  // namespace bdr::server
