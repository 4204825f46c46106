// What bdr-server shows at /metrics. docs/metrics.md holds the same list; a test compares them.
#pragma once

#include <vector>

#include "base/metrics.h"

namespace bdr::v1 {
class ClusterStatusResponse;
}  // namespace bdr::v1

namespace bdr::server {

// Everything declared, for the constructor of Metrics.
std::vector<MetricInfo> ServerMetrics();

// Sets members and what they last reported in `metrics`. For Metrics::OnScrape.
void ShowCluster(const v1::ClusterStatusResponse& cluster, Metrics* metrics);

}  // namespace bdr::server
