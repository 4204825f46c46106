#include "node-agent/report/agent_metrics.h"

#include <algorithm>
#include <utility>

#include "base/process_metrics.h"
#include "bdr/v1/control.pb.h"

namespace bdr::agent {

// A table, in the order in which docs/metrics.md shows it: the node as a whole, each peer, what is
// counted where it happens, and what every program shows of its process.
std::vector<MetricInfo> AgentMetrics() {
  using enum MetricType;
  const std::vector<std::string> origin = {"origin"};
  std::vector<MetricInfo> metrics = {
      // The node as a whole.
      {.name = "bdr_node_health",
       .help = "worst state of this node: 0 good, 1 warning, 2 critical"},
      {.name = "bdr_capture_health", .help = "state of capture: 0 good, 1 warning, 2 critical"},
      {.name = "bdr_captured_lsn_bytes",
       .help = "position in the node's own WAL up to which changes are durable in the change log"},
      {.name = "bdr_undecoded_bytes", .help = "WAL of this node that is not decoded yet"},
      {.name = "bdr_slot_retained_bytes", .help = "WAL that PostgreSQL keeps for the slot"},
      {.name = "bdr_log_bytes",
       .help = "size on disk of all that the agent keeps: changes, versions, RocksDB's own log"},
      {.name = "bdr_log_retained_bytes",
       .help = "changes that are kept until every member has them, and what was trimmed of them "
               "and is not "
               "given back yet"},
      {.name = "bdr_log_cap_bytes",
       .help = "what those may come to before capture pauses: log_retention_bytes"},
      {.name = "bdr_postgres_up", .help = "1 while the node's PostgreSQL answers, else 0"},
      {.name = "bdr_memory_bytes", .help = "resident memory of the agent"},
      {.name = "bdr_memory_limit_bytes", .help = "what memory_limit allows it"},
      {.name = "bdr_stable_timestamp_seconds",
       .help = "time before which nothing can still arrive at this node, since 1970; 0: unknown"},
      {.name = "bdr_dead_letters",
       .help =
           "transactions that were put aside, and changes that a policy's function refused, which "
           "wait for a person"},
      {.name = "bdr_clock_behind_seconds",
       .help = "how far this node's clock is behind the newest change that it holds, which pauses "
               "apply; 0 if it is not"},
      {.name = "bdr_clock_advance_seconds",
       .help = "what the clock rules add to the clock since \"bdrctl clock accept\"; else 0"},
      {.name = "bdr_stable_behind_seconds",
       .help = "how far that time is behind the agent's clock; while it is unknown: since it was "
               "last known, or the agent began to ask"},
      {.name = "bdr_stable_held_by",
       .help = "1 for the member for which the stable time waits, 0 for the others",
       .labels = {"member"}},
      {.name = "bdr_sequence_reserve",
       .help = "numbers of a sequence of method galloc that can be drawn without bdr-server",
       .labels = {"sequence"}},
      {.name = "bdr_sequence_drawn_per_second",
       .help = "numbers drawn from it on this node, of late",
       .labels = {"sequence"}},
      {.name = "bdr_sequence_used_ratio",
       .help = "how much of its numbers all nodes together have been granted: 0 to 1",
       .labels = {"sequence"}},
      {.name = "bdr_sequence_turn_held",
       .help = "of a sequence of method gapless: 1 while this node gives out its numbers, 0 else",
       .labels = {"sequence"}},
      {.name = "bdr_versions_estimated_keys",
       .help = "row versions in the agent's store, by RocksDB's estimate; they go once stable"},
      {.name = "bdr_compactions_total",
       .type = kCounter,
       .help = "times that the store was compacted to give back what became stable"},
      {.name = "bdr_transactions_captured_total",
       .type = kCounter,
       .help = "transactions committed on this node and captured since the agent started"},
      {.name = "bdr_changes_captured_total",
       .type = kCounter,
       .help = "row changes in those transactions"},
      // Each peer: the stream from it, and applying what it brought.
      {.name = "bdr_link_health",
       .help = "state of the stream from this peer: 0 good, 1 warning, 2 critical",
       .labels = origin},
      {.name = "bdr_apply_health",
       .help = "state of applying this origin: 0 good, 1 warning, 2 critical",
       .labels = origin},
      {.name = "bdr_published_lsn_bytes",
       .help = "newest position of the origin by its own word, in its WAL",
       .labels = origin},
      {.name = "bdr_received_lsn_bytes",
       .help = "position of the origin that was received here",
       .labels = origin},
      {.name = "bdr_applied_lsn_bytes",
       .help = "position of the origin that is committed and visible here",
       .labels = origin},
      {.name = "bdr_durable_lsn_bytes",
       .help = "position of the origin that is applied here and flushed",
       .labels = origin},
      {.name = "bdr_lag_seconds",
       .help =
           "age of the origin's oldest transaction that is not applied here; 0 if there is none",
       .labels = origin},
      {.name = "bdr_lag_bytes",
       .help = "WAL of the origin between its newest position and the one applied here",
       .labels = origin},
      {.name = "bdr_queued_bytes",
       .help = "changes of the origin received and not applied yet",
       .labels = origin},
      {.name = "bdr_clock_skew_seconds",
       .help = "the peer's clock less this node's, from heartbeats",
       .labels = origin},
      {.name = "bdr_clock_held_seconds",
       .help = "how far the origin's oldest transaction is ahead of this node's clock while it is "
               "held for that; else 0",
       .labels = origin},
      {.name = "bdr_transactions_applied_total",
       .type = kCounter,
       .help = "transactions of the origin applied since the agent started",
       .labels = origin},
      {.name = "bdr_changes_applied_total",
       .type = kCounter,
       .help = "row changes in those transactions",
       .labels = origin},
      {.name = "bdr_conflicts_total",
       .type = kCounter,
       .help = "conflicts found while applying the origin",
       .labels = origin},
      // Counted where they happen.
      {.name = "bdr_conflicts_by_kind_total",
       .type = kCounter,
       .help = "the same conflicts by kind, as PostgreSQL names them (insert_exists, ...), and "
               "truncate_origin_differs, unique_claimed, column_missing, table_missing",
       .labels = {"kind"}},
      {.name = "bdr_conflicts_by_table_total",
       .type = kCounter,
       .help =
           "conflicts over rows, by table and kind; only tables that had any, and \"other\" for "
           "those after the first 500",
       .labels = {"table", "kind"}},
      {.name = "bdr_apply_group_transactions",
       .type = kHistogram,
       .help = "transactions of the origin that were applied as one local transaction",
       .labels = origin,
       .buckets = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}},
      {.name = "bdr_apply_group_seconds",
       .type = kHistogram,
       .help = "time that applying such a group took, from first statement to commit",
       .labels = origin,
       .buckets = {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60}},
      {.name = "bdr_apply_retries_total",
       .type = kCounter,
       .help = "groups rolled back and applied again: deadlock, lost connection, a clock, a wait",
       .labels = origin},
      {.name = "bdr_fetched_rows_total",
       .type = kCounter,
       .help = "rows whose large values, left out of a change, were fetched from another node",
       .labels = origin},
      {.name = "bdr_fetch_waits_total",
       .type = kCounter,
       .help = "how often no node could be asked for them, and apply of the origin waited",
       .labels = origin},
      {.name = "bdr_errors_total",
       .type = kCounter,
       .help =
           "errors that stopped a part for a while or for good: capture, stream, apply, control",
       .labels = {"part"}},
  };
  for (MetricInfo& metric : ProcessMetrics()) metrics.push_back(std::move(metric));
  return metrics;
}

namespace {

void ShowNode(const v1::NodeStatus& status, Metrics* metrics) {
  const auto set = [metrics](const char* name, double value) {
    metrics->GetGauge(name).Set(value);
  };
  set("bdr_node_health", status.node().level());
  set("bdr_capture_health", status.capture().level());
  set("bdr_captured_lsn_bytes", static_cast<double>(status.captured_lsn()));
  set("bdr_undecoded_bytes", static_cast<double>(status.undecoded_bytes()));
  set("bdr_slot_retained_bytes", static_cast<double>(status.slot_retained_bytes()));
  set("bdr_log_bytes", static_cast<double>(status.log_bytes()));
  set("bdr_log_retained_bytes", static_cast<double>(status.log_retained_bytes()));
  set("bdr_log_cap_bytes", static_cast<double>(status.log_cap_bytes()));
  set("bdr_memory_bytes", static_cast<double>(status.memory_bytes()));
  set("bdr_dead_letters", static_cast<double>(status.dead_letters()));
  set("bdr_versions_estimated_keys", static_cast<double>(status.versions_estimated()));
  metrics->GetCounter("bdr_transactions_captured_total")
      .SetTotal(static_cast<double>(status.transactions_captured()));
  metrics->GetCounter("bdr_changes_captured_total")
      .SetTotal(static_cast<double>(status.changes_captured()));
}

void ShowClock(const v1::NodeStatus& status, Metrics* metrics) {
  const int64_t behind_us =
      status.newest_stamp_us() - status.clock_us() - status.clock_advance_us();
  metrics->GetGauge("bdr_clock_behind_seconds")
      .Set(status.clock_us() != 0 && behind_us > 0 ? static_cast<double>(behind_us) / 1e6 : 0);
  metrics->GetGauge("bdr_clock_advance_seconds")
      .Set(static_cast<double>(status.clock_advance_us()) / 1e6);
}

void ShowStable(const v1::NodeStatus& status, Metrics* metrics) {
  metrics->GetGauge("bdr_stable_timestamp_seconds")
      .Set(static_cast<double>(status.stable_us()) / 1e6);
  metrics->GetGauge("bdr_stable_behind_seconds")
      .Set(status.stable_known_us() == 0
               ? 0
               : std::max<double>(
                     0, static_cast<double>(status.reported_us() - status.stable_known_us())) /
                     1e6);
  const auto held_by = [&](const std::string& member) {
    metrics->GetGauge("bdr_stable_held_by", {{"member", member}})
        .Set(status.stable_held_by() == member ? 1 : 0);
  };
  held_by(status.name());
  for (const v1::OriginStatus& origin : status.origins()) held_by(origin.name());
}

void ShowSequence(const v1::SequenceStatus& sequence, Metrics* metrics) {
  const MetricLabels labels = {{"sequence", sequence.name()}};
  if (!sequence.turn().empty()) {
    metrics->GetGauge("bdr_sequence_turn_held", labels).Set(sequence.turn() == "held" ? 1 : 0);
    return;
  }
  metrics->GetGauge("bdr_sequence_reserve", labels).Set(static_cast<double>(sequence.reserve()));
  metrics->GetGauge("bdr_sequence_drawn_per_second", labels).Set(sequence.per_second());
  metrics->GetGauge("bdr_sequence_used_ratio", labels).Set(sequence.used());
}

void ShowOrigin(const v1::OriginStatus& origin, Metrics* metrics) {
  const MetricLabels labels = {{"origin", origin.name()}};
  const auto set = [&](const char* name, double value) {
    metrics->GetGauge(name, labels).Set(value);
  };
  const auto total = [&](const char* name, uint64_t value) {
    metrics->GetCounter(name, labels).SetTotal(static_cast<double>(value));
  };
  set("bdr_link_health", origin.link().level());
  set("bdr_apply_health", origin.apply().level());
  set("bdr_published_lsn_bytes", static_cast<double>(origin.published_lsn()));
  set("bdr_received_lsn_bytes", static_cast<double>(origin.received_lsn()));
  set("bdr_applied_lsn_bytes", static_cast<double>(origin.applied_lsn()));
  set("bdr_durable_lsn_bytes", static_cast<double>(origin.durable_lsn()));
  set("bdr_lag_seconds", static_cast<double>(origin.lag_ms()) / 1e3);
  // Positions of one heartbeat and of another moment: the difference may pass zero for an instant.
  set("bdr_lag_bytes", origin.published_lsn() > origin.applied_lsn()
                           ? static_cast<double>(origin.published_lsn() - origin.applied_lsn())
                           : 0);
  set("bdr_queued_bytes", static_cast<double>(origin.queued_bytes()));
  set("bdr_clock_skew_seconds", static_cast<double>(origin.clock_skew_us()) / 1e6);
  set("bdr_clock_held_seconds", static_cast<double>(origin.held_ahead_us()) / 1e6);
  total("bdr_transactions_applied_total", origin.transactions_applied());
  total("bdr_changes_applied_total", origin.changes_applied());
  total("bdr_conflicts_total", origin.conflicts());
}

}  // namespace

void ShowStatus(const v1::NodeStatus& status, Metrics* metrics) {
  ShowNode(status, metrics);
  ShowClock(status, metrics);
  ShowStable(status, metrics);
  for (const v1::SequenceStatus& sequence : status.sequences()) ShowSequence(sequence, metrics);
  for (const v1::OriginStatus& origin : status.origins()) ShowOrigin(origin, metrics);
}

}  // namespace bdr::agent
