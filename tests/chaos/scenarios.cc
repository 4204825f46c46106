#include "tests/chaos/scenarios.h"

#include <csignal>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "tests/chaos/stories.h"
#include "tests/harness/process.h"

namespace bdr::chaos {
namespace {

// With a broken rule nodes stay different however long one waits.
constexpr absl::Duration kBrokenDeadline = absl::Seconds(10);
constexpr absl::Duration kDeadline = absl::Seconds(60);

absl::StatusOr<std::unique_ptr<harness::Cluster>> StartCluster(const std::string& broken,
                                                               const std::string& habits) {
  harness::ClusterOptions options;
  options.nodes = {{}, {}, {}};
  options.schema_sql =
      "CREATE TABLE story (id int PRIMARY KEY, v text);"
      "CREATE TABLE story_filler (id int PRIMARY KEY, v text);"
      "CREATE TABLE story_number (id serial PRIMARY KEY);";
  options.proxies = true;
  options.machine_crash = true;
  options.fake_clocks = true;
  // Small blocks, so that a transaction of many is soon written.
  options.agent_config = "block_max_bytes: 16KiB\nheartbeat_interval: 20ms\n";
  options.start_deadline = absl::Seconds(90);
  if (!broken.empty()) options.agent_environment.emplace_back("BDR_BREAK", broken);
  if (!habits.empty()) options.agent_environment.emplace_back("BDR_STRESS", habits);
  return harness::Cluster::Start(std::move(options));
}

absl::StatusOr<Proof> Judge(const Scenario& scenario, const absl::Status& played,
                            absl::Duration took) {
  Proof proof{.found = false, .what = "", .until_found = took};
  if (played.ok()) return proof;
  if (!absl::IsDataLoss(played)) return played;
  if (!absl::StrContains(played.message(), scenario.evidence)) {
    return absl::InternalError(absl::StrCat("something else was found than \"", scenario.evidence,
                                            "\": ", std::string(played.message())));
  }
  proof.found = true;
  proof.what = std::string(played.message());
  return proof;
}

}  // namespace

absl::Status Stage::Found(const std::string& what) const { return absl::DataLossError(what); }

absl::Status Stage::WaitForValue(const std::string& node, const std::string& sql,
                                 const std::string& value) const {
  return cluster_->WaitForValue(node, sql, value, kDeadline);
}

absl::Status Stage::WaitUntil(const std::string& what,
                              const std::function<absl::StatusOr<bool>()>& condition) const {
  return harness::WaitFor(what, kDeadline, condition);
}

absl::Status Stage::WaitUntilCaptured(const std::string& node) const {
  ASSIGN_OR_RETURN(const std::string here,
                   cluster_->QueryValue(node, "SELECT pg_current_wal_insert_lsn()"));
  // What is decoded moves on only with more WAL behind it.
  RETURN_IF_ERROR(cluster_->Exec(node, "SELECT pg_logical_emit_message(true, 'story', '')"));
  return cluster_->WaitForValue(
      node, absl::StrCat("SELECT confirmed_flush_lsn >= '", here, "' FROM pg_replication_slots"),
      "t", kDeadline);
}

absl::StatusOr<int> Stage::SenderOf(const std::string& node) const {
  ASSIGN_OR_RETURN(const std::string text,
                   cluster_->QueryValue(node, "SELECT active_pid FROM pg_replication_slots"));
  int pid = 0;
  if (!absl::SimpleAtoi(text, &pid)) {
    return absl::UnavailableError(absl::StrCat("nobody reads the slot of ", node));
  }
  return pid;
}

absl::Status Stage::PauseCapture(const std::string& node) const {
  ASSIGN_OR_RETURN(const int pid, SenderOf(node));
  return harness::StopProcess(pid);
}

absl::Status Stage::ResumeCapture(const std::string& node) const {
  ASSIGN_OR_RETURN(const int pid, SenderOf(node));
  return kill(pid, SIGCONT) == 0 ? absl::OkStatus() : absl::InternalError("cannot go on");
}

absl::Status Stage::HealAndConverge() const {
  cluster_->Heal();
  const absl::Status converged =
      cluster_->WaitUntilConverged(broken_ ? kBrokenDeadline : kDeadline);
  return converged.ok() ? converged : absl::DataLossError(converged.message());
}

absl::StatusOr<Proof> Play(const Scenario& scenario, bool broken) {
  ASSIGN_OR_RETURN(const std::unique_ptr<harness::Cluster> cluster,
                   StartCluster(broken ? scenario.rule : "", scenario.habits));
  const absl::Time begun = absl::Now();
  const absl::Status played = scenario.play(Stage(cluster.get(), broken));
  return Judge(scenario, played, absl::Now() - begun);
}

absl::Status PlayAllKept() {
  ASSIGN_OR_RETURN(const std::unique_ptr<harness::Cluster> cluster, StartCluster("", ""));
  for (const Scenario& scenario : Scenarios()) {
    RETURN_IF_ERROR(cluster->ExecEverywhere(
        "SET session_replication_role = replica; SELECT 1"));  // every server answers
    const absl::Status played = scenario.play(Stage(cluster.get(), /*broken=*/false));
    if (!played.ok()) {
      return absl::Status(played.code(), absl::StrCat("with all rules kept, \"", scenario.rule,
                                                      "\" found: ", std::string(played.message())));
    }
    // The next one begins with an empty table.
    RETURN_IF_ERROR(cluster->Exec("n1", "DELETE FROM story"));
    RETURN_IF_ERROR(cluster->Exec("n1", "DELETE FROM story_filler"));
    RETURN_IF_ERROR(cluster->WaitUntilConverged(kDeadline));
  }
  return absl::OkStatus();
}

const std::vector<Scenario>& Scenarios() {
  static const auto* const scenarios = new std::vector<Scenario>(AllStories());
  return *scenarios;
}

}  // namespace bdr::chaos
