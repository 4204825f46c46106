#include "node-agent/self_report.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/logging.h"
#include "base/process_metrics.h"
#include "bdr/v1/control.pb.h"
#include "node-agent/report/agent_metrics.h"
#include "node-agent/report/agent_status.h"
#include "node-agent/report/counted_metrics.h"

namespace bdr::agent {

SelfReport::SelfReport(const Options& options, absl::Time now)
    : config_(*options.config),
      health_(*options.health),
      known_(*options.known),
      metrics_(options.metrics),
      running_(*options.running),
      stable_known_us_(absl::ToUnixMicros(now)) {}

void SelfReport::SetFolder(const DataFolder* folder) {
  if (folder->kept_identity().has_value()) node_ = folder->kept_identity()->node;
  folder_ = folder;
}

void SelfReport::FillStatus(v1::NodeStatus* status) {
  const Health health = health_.Get().health;
  status->set_name(config_.node);
  status->set_agent_version(BDR_VERSION);
  status->set_reported_us(absl::ToUnixMicros(absl::Now()));
  status->set_memory_bytes(ResidentBytes());
  status->set_stable_known_us(stable_known_us_);
  const DataPath* const path = running_;
  if (path == nullptr) {
    FillHealth(health, status->mutable_node());
    return;
  }
  const Database& database = *path->stores().database;
  status->set_log_bytes(database.SizeOnDisk());
  status->set_log_retained_bytes(database.LogBytes());
  status->set_log_cap_bytes(static_cast<uint64_t>(config_.log_retention_bytes));
  status->set_versions_estimated(database.EstimatedVersions());
  const Membership known = known_.Get();
  StatusParts parts = path->status_parts();
  parts.health = health;
  parts.membership = &known;
  FillRunningStatus(parts, status);
  if (status->stable_us() != 0) stable_known_us_ = status->stable_us();
  status->set_stable_known_us(stable_known_us_);
}

void SelfReport::FillReport(v1::ReportRequest* report) {
  const Membership known = known_.Get();
  const DataFolder& folder = *folder_.load();
  report->set_cluster_id(known.cluster_id);
  report->set_known_epoch(known.epoch);
  report->set_node_id(node_);
  report->set_data_dir_id(folder.id());
  for (const v1::SequenceState& state : folder.sequence_marks()->All()) {
    *report->add_known_sequences() = state;
  }
  FillStatus(report->mutable_status());
  const DataPath* const path = running_;
  if (path == nullptr) return;
  report->set_incarnation(path->own().incarnation);
  report->set_followed_epoch(followed_epoch_);
  const bool joined = joined_;
  report->set_captures(joined);
  if (joined) {
    Settings& settings = *path->parts().settings;
    report->set_settings_ready(settings.Ready(path->positions().progress->StableTime()));
    report->set_settings_active(settings.active());
  }
  path->parts().schema->FillReport(report->mutable_schema());
}

std::vector<std::string> SelfReport::TakeAnswer(const v1::ReportResponse& response) {
  const absl::Status learned = folder_.load()->sequence_marks()->Learn(
      {response.sequences().begin(), response.sequences().end()});
  // The next answer says it again.
  if (!learned.ok()) LogDebug("sequence", {}, learned.message());
  const DataPath* const path = running_;
  return path == nullptr ? std::vector<std::string>() : path->parts().schema->Wanted(response);
}

std::vector<std::string> SelfReport::NotReady() {
  v1::NodeStatus status;
  FillStatus(&status);
  const AgentHealth::Told own = health_.Get();
  if (own.state != AgentState::kRunning) {
    return {absl::StrCat(own.health.state,
                         own.health.reason.empty() ? "" : absl::StrCat(": ", own.health.reason))};
  }
  if (status.node().level() != v1::Health::CRITICAL) return {};
  return {absl::StrCat(status.node().state(), ": ", status.node().reason())};
}

void SelfReport::ShowMetrics() {
  v1::NodeStatus status;
  FillStatus(&status);
  ShowStatus(status, metrics_);
  ShowProcess("bdr-agent", BDR_VERSION, metrics_);
  const DataPath* const path = running_;
  if (path == nullptr) return;
  ShowCounted({.postgres_up = path->parts().watcher->seen().reachable,
               .capture_errors = path->parts().capture->counters().errors,
               .compactions = path->parts().compactor->compactions(),
               .peers = path->parts().peers->status()},
              metrics_);
}

}  // namespace bdr::agent
