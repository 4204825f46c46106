#include "bench/idle.h"

#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "tests/harness/cluster.h"
#include "tests/harness/process.h"
#include "tests/harness/usage.h"

namespace bdr::bench {
namespace {

constexpr absl::Duration kSettled = absl::Seconds(15);  // promises, trims, a last compaction
constexpr int kClients = 4;

struct Sample {
  absl::Duration cpu;
  int64_t written = 0;  // bytes that were sent to the disk, see proc(5)
};

absl::StatusOr<Sample> Look(pid_t pid) {
  ASSIGN_OR_RETURN(const harness::Usage usage, harness::UsageOf(pid));
  Sample sample{.cpu = usage.cpu};
  std::ifstream io(absl::StrCat("/proc/", pid, "/io"));
  std::string name;
  int64_t value = 0;
  while (io >> name >> value) {
    if (name == "write_bytes:") sample.written = value;
  }
  return sample;
}

absl::Status Measure(harness::Cluster& cluster, const char* when, int seconds) {
  const std::vector<std::string> names = {"n1", "n2"};
  std::vector<Sample> before;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(before.emplace_back(), Look(cluster.agent(name).pid()));
  }
  absl::SleepFor(absl::Seconds(seconds));
  for (size_t i = 0; i < names.size(); ++i) {
    ASSIGN_OR_RETURN(const Sample after, Look(cluster.agent(names[i]).pid()));
    std::printf("%-12s agent %s  %6.2f %% of a core  %8.2f kB/s written\n", when, names[i].c_str(),
                100 * absl::ToDoubleSeconds(after.cpu - before[i].cpu) / seconds,
                static_cast<double>(after.written - before[i].written) / 1000 / seconds);
  }
  std::fflush(stdout);
  return absl::OkStatus();
}

absl::Status Load(harness::Cluster& cluster, int transactions) {
  harness::PostgresServer& server = cluster.postgres("n1");
  ASSIGN_OR_RETURN(
      const harness::ProgramResult result,
      harness::RunProgram(
          {.argv = {server.bin_folder() + "/pgbench", "-n", "-c", absl::StrCat(kClients), "-t",
                    absl::StrCat(transactions / kClients), server.conninfo("postgres", "app")}},
          absl::Minutes(10)));
  if (result.exit_code != 0) return absl::InternalError(result.err);
  return cluster.WaitUntilConverged(absl::Minutes(5));
}

}  // namespace

absl::Status MeasureIdle(const IdleSettings& settings) {
  harness::ClusterOptions options;
  options.nodes.assign(2, {});
  options.prepare = [](harness::Cluster& cluster, const std::string& node) -> absl::Status {
    harness::PostgresServer& server = cluster.postgres(node);
    ASSIGN_OR_RETURN(const harness::ProgramResult loaded,
                     harness::RunProgram({.argv = {server.bin_folder() + "/pgbench", "-i", "-q",
                                                   "-s", "1", server.conninfo("postgres", "app")}},
                                         absl::Minutes(5)));
    return loaded.exit_code == 0 ? absl::OkStatus() : absl::InternalError(loaded.err);
  };
  ASSIGN_OR_RETURN(const std::unique_ptr<harness::Cluster> cluster,
                   harness::Cluster::Start(std::move(options)));
  absl::SleepFor(kSettled);
  RETURN_IF_ERROR(Measure(*cluster, "fresh", settings.seconds));
  RETURN_IF_ERROR(Load(*cluster, settings.transactions));
  absl::SleepFor(kSettled);
  return Measure(*cluster, "after a load", settings.seconds);
}

}  // namespace bdr::bench
