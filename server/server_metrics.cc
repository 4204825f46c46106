#include "server/server_metrics.h"

#include <utility>

#include "base/process_metrics.h"
#include "bdr/v1/control.pb.h"

namespace bdr::server {

std::vector<MetricInfo> ServerMetrics() {
  std::vector<MetricInfo> metrics = {
      {.name = "bdr_server_leads",
       .help = "1 while this bdr-server does the work in the background, else 0; of all servers on "
               "one store exactly one does"},
      {.name = "bdr_server_members", .help = "nodes that were added to the cluster"},
      {.name = "bdr_server_membership_epoch",
       .help = "number of the membership, which grows with every change of it"},
      {.name = "bdr_server_node_health",
       .help =
           "state that the node last reported: 0 good, 1 warning, 2 critical; 2 if it never did; 0 "
           "once the node was removed",
       .labels = {"node"}},
      {.name = "bdr_server_report_age_seconds",
       .help = "time since the node's agent last reported; shown once it has",
       .labels = {"node"}},
      {.name = "bdr_server_requests_total",
       .type = MetricType::kCounter,
       .help = "requests answered, by call and status code (OK, NOT_FOUND, ...)",
       .labels = {"call", "code"}},
  };
  for (MetricInfo& metric : ProcessMetrics()) metrics.push_back(std::move(metric));
  return metrics;
}

void ShowCluster(const v1::ClusterStatusResponse& cluster, Metrics* metrics) {
  metrics->GetGauge("bdr_server_members").Set(cluster.membership().members_size());
  metrics->GetGauge("bdr_server_membership_epoch")
      .Set(static_cast<double>(cluster.membership().epoch()));
  // A series stays for as long as this process runs; nobody is to be woken by that of a node which
  // there is no more. One that has its name now comes after it.
  for (const v1::RemovedMember& removed : cluster.membership().removed()) {
    const MetricLabels labels = {{"node", removed.name()}};
    metrics->GetGauge("bdr_server_node_health", labels).Set(v1::Health::OK);
    metrics->GetGauge("bdr_server_report_age_seconds", labels).Set(0);
  }
  for (const v1::ReportedStatus& node : cluster.nodes()) {
    const MetricLabels labels = {{"node", node.member().name()}};
    metrics->GetGauge("bdr_server_node_health", labels)
        .Set(node.has_status() ? node.status().node().level() : v1::Health::CRITICAL);
    if (node.received_us() > 0) {
      metrics->GetGauge("bdr_server_report_age_seconds", labels)
          .Set(static_cast<double>(cluster.now_us() - node.received_us()) / 1e6);
    }
  }
}

}  // namespace bdr::server
