#include "node-agent/report/counted_metrics.h"

#include <map>
#include <string>
#include <utility>

#include "conflict/conflict_kind.h"

namespace bdr::agent {
namespace {

// Over all peers.
struct Sums {
  std::map<conflict::ConflictKind, uint64_t> conflicts;
  std::map<std::pair<std::string, std::string>, uint64_t> table_conflicts;
  uint64_t apply_errors = 0;
  uint64_t orphans = 0;
  uint64_t link_failures = 0;
};

Sums SumUp(const std::vector<PeerStatus>& peers) {
  Sums sums;
  for (const PeerStatus& peer : peers) {
    for (const auto& [kind, count] : peer.apply.conflicts) sums.conflicts[kind] += count;
    for (const auto& [where, count] : peer.apply.table_conflicts) {
      sums.table_conflicts[where] += count;
    }
    sums.apply_errors += peer.apply.errors;
    sums.orphans += peer.apply.orphans;
    sums.link_failures += peer.link.failures;
  }
  return sums;
}

}  // namespace

void ShowCounted(const Counted& counted, Metrics* metrics) {
  const auto total = [metrics](const char* name, const MetricLabels& labels, uint64_t value) {
    metrics->GetCounter(name, labels).SetTotal(static_cast<double>(value));
  };
  metrics->GetGauge("bdr_postgres_up").Set(counted.postgres_up ? 1 : 0);
  for (const PeerStatus& peer : counted.peers) {
    const MetricLabels origin = {{"origin", peer.member.name}};
    total("bdr_apply_retries_total", origin, peer.apply.retries);
    total("bdr_fetched_rows_total", origin, peer.apply.fetched_rows);
    total("bdr_fetch_waits_total", origin, peer.apply.fetch_waits);
  }
  const Sums sums = SumUp(counted.peers);
  total("bdr_conflicts_by_kind_total",
        {{"kind", std::string(ToString(conflict::ConflictKind::kForeignKeyOrphaned))}},
        sums.orphans);
  total("bdr_errors_total", {{"part", "apply"}}, sums.apply_errors);
  total("bdr_errors_total", {{"part", "stream"}}, sums.link_failures);
  total("bdr_errors_total", {{"part", "capture"}}, counted.capture_errors);
  total("bdr_compactions_total", {}, counted.compactions);
  for (const auto& [where, count] : sums.table_conflicts) {
    total("bdr_conflicts_by_table_total", {{"table", where.first}, {"kind", where.second}}, count);
  }
  for (const auto& [kind, count] : sums.conflicts) {
    total("bdr_conflicts_by_kind_total", {{"kind", std::string(ToString(kind))}}, count);
  }
}

}  // namespace bdr::agent
