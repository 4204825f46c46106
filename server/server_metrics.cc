#include "server/server_metrics.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "base/process_metrics.h"
#include "bdr/v1/control.pb.h"

namespace bdr::server {
namespace {

// Of a cluster with more sequences than anybody watches one by one the first are shown: those that
// were converted first.
constexpr size_t kMostSequences = 500;
constexpr double kEndless = std::numeric_limits<double>::infinity();
// Less is nothing: agents measure over some seconds.
constexpr double kDrawsAtAll = 0.01;

// Of one sequence, by what nodes report.
struct SequenceUse {
  double per_second = 0;
  double least_reserve = kEndless;
  int unconverted = 0;  // nodes
};

SequenceUse UseOf(const v1::SequenceState& sequence, const v1::ClusterStatusResponse& cluster) {
  SequenceUse use;
  for (const v1::ReportedStatus& node : cluster.nodes()) {
    if (!node.has_status()) continue;
    const auto& here = node.status().sequences();
    const auto found = std::find_if(here.begin(), here.end(), [&sequence](const auto& one) {
      return one.number() == sequence.number();
    });
    if (found == here.end()) {
      ++use.unconverted;
      continue;
    }
    use.per_second += found->per_second();
    use.least_reserve = std::min(use.least_reserve, static_cast<double>(found->reserve()));
  }
  return use;
}

void Show(const v1::SequenceState& sequence, double used, const SequenceUse& use, double lasts,
          Metrics* metrics) {
  const MetricLabels labels = {{"sequence", sequence.name()}};
  metrics->GetGauge("bdr_server_sequence_used_ratio", labels).Set(used);
  metrics->GetGauge("bdr_server_sequence_drawn_per_second", labels).Set(use.per_second);
  metrics->GetGauge("bdr_server_sequence_exhausted_in_seconds", labels).Set(lasts);
  metrics->GetGauge("bdr_server_sequence_least_reserve", labels).Set(use.least_reserve);
  metrics->GetGauge("bdr_server_sequence_unconverted_nodes", labels).Set(use.unconverted);
}

}  // namespace

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
      {.name = "bdr_server_sequence_used_ratio",
       .help = "how much of the numbers of a sequence of method galloc was granted to nodes: 0 to "
               "1; of this and the next four the first 500 sequences are shown",
       .labels = {"sequence"}},
      {.name = "bdr_server_sequence_drawn_per_second",
       .help = "numbers drawn from it on all nodes together, of late",
       .labels = {"sequence"}},
      {.name = "bdr_server_sequence_exhausted_in_seconds",
       .help = "how long what is left lasts at that rate; +Inf if nothing is drawn",
       .labels = {"sequence"}},
      {.name = "bdr_server_sequence_least_reserve",
       .help = "numbers that the node with the fewest in reserve can draw without bdr-server; +Inf "
               "if no node tells",
       .labels = {"sequence"}},
      {.name = "bdr_server_sequence_unconverted_nodes",
       .help = "nodes that report and do not draw from it by its method",
       .labels = {"sequence"}},
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

void ShowSequences(const std::vector<v1::SequenceState>& sequences,
                   const v1::ClusterStatusResponse& cluster, Metrics* metrics) {
  for (size_t i = 0; i < std::min(sequences.size(), kMostSequences); ++i) {
    const v1::SequenceState& sequence = sequences[i];
    // By other methods bdr-server grants nothing, and agents tell nothing of them.
    if (sequence.method() != "galloc") {
      Show(sequence, 0, {}, kEndless, metrics);
      continue;
    }
    const SequenceUse use = UseOf(sequence, cluster);
    const auto all = std::max(static_cast<double>(sequence.last()), 1.0);
    const double left = std::max(all - static_cast<double>(sequence.next()) + 1, 0.0);
    Show(sequence, 1 - std::min(left / all, 1.0), use,
         use.per_second < kDrawsAtAll ? kEndless : left / use.per_second, metrics);
  }
}

}  // namespace bdr::server
