#include "tests/demo/live_table.h"

#include <algorithm>
#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

namespace bdr::demo {

LiveTable::LiveTable(const harness::Cluster* cluster, bool terminal)
    : cluster_(cluster), terminal_(terminal), last_time_(absl::Now()) {
  for (const std::string& node : cluster_->names()) {
    const auto metrics = cluster_->AgentMetrics(node);
    if (!metrics.ok()) continue;
    last_[node] = {.local = metrics->Sum("bdr_transactions_captured_total"),
                   .out = metrics->Sum("bdr_changes_captured_total"),
                   .in = metrics->Sum("bdr_changes_applied_total")};
  }
}

void LiveTable::Print(const std::string& caption, const std::vector<std::string>& below) {
  const absl::Time now = absl::Now();
  const double seconds = std::max(0.001, absl::ToDoubleSeconds(now - last_time_));
  last_time_ = now;
  std::string text =
      absl::StrFormat("%-10s %10s %14s %14s %9s %12s %10s\n", caption, "local tps", "changes out/s",
                      "changes in/s", "lag ms", "lag bytes", "conflicts");
  int lines = 1;
  for (const std::string& node : cluster_->names()) {
    ++lines;
    const auto metrics = cluster_->AgentMetrics(node);
    if (!metrics.ok()) {
      absl::StrAppendFormat(&text, "%-10s (no metrics: %s)\n", node, metrics.status().message());
      continue;
    }
    const Counters counters = {.local = metrics->Sum("bdr_transactions_captured_total"),
                               .out = metrics->Sum("bdr_changes_captured_total"),
                               .in = metrics->Sum("bdr_changes_applied_total")};
    double lag_seconds = 0;
    for (const std::string& origin : cluster_->names()) {
      lag_seconds = std::max(lag_seconds, metrics->Sum("bdr_lag_seconds", {{"origin", origin}}));
    }
    const Counters before = last_[node];
    absl::StrAppendFormat(&text, "%-10s %10.0f %14.0f %14.0f %9.0f %12.0f %10.0f\n", node,
                          (counters.local - before.local) / seconds,
                          (counters.out - before.out) / seconds,
                          (counters.in - before.in) / seconds, lag_seconds * 1e3,
                          metrics->Sum("bdr_lag_bytes"), metrics->Sum("bdr_conflicts_total"));
    last_[node] = counters;
  }
  for (const std::string& line : below) {
    ++lines;
    absl::StrAppend(&text, line, "\n");
  }
  if (terminal_ && lines_printed_ > 0) std::printf("\033[%dA\033[J", lines_printed_);
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
  lines_printed_ = lines;
}

}  // namespace bdr::demo
