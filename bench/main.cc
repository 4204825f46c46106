// bdr-bench: side by side with PostgreSQL's own logical replication and pglogical, in one run.
//
//   catch-up    transactions a second at which a receiver that was away applies what it missed
//   users kept  the receiver's own pgbench while changes arrive, against the same without: what
//               apply leaves to the users of the node
//   idle        (by name) what an agent takes and writes while nothing happens
//   sequences   (by name) what ids of each sequence access method cost beside PostgreSQL's own; how
//               long who draws one waits while three nodes draw; chunks granted a second
//
// Absolute numbers say something about the machine; the ratios are what to compare.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "bench/draws.h"
#include "bench/figures.h"
#include "bench/grants.h"
#include "bench/idle.h"
#include "bench/sequences.h"
#include "bench/system.h"
#include "tests/harness/cluster.h"
#include "tests/harness/process.h"
#include "tests/harness/temp_folder.h"

namespace bdr::bench {
namespace {

struct Settings {
  int rounds = 3;
  int scale = 10;
  int transactions = 20000;  // of catch-up
  int seconds = 8;           // of each pgbench
  int arriving = 300;        // transactions a second that arrive while users work
};

struct Medians {
  std::vector<double> catch_up_tps;
  std::vector<double> users_kept;  // share of the rate without arriving changes
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

std::vector<std::string> PgbenchArguments(System& system, harness::PostgresServer& server,
                                          std::vector<std::string> more) {
  std::vector<std::string> arguments = {server.bin_folder() + "/pgbench", "-n", "-c", "4"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  arguments.push_back(server.conninfo("postgres", system.database()));
  return arguments;
}

// Transactions a second, as pgbench itself counts them.
absl::StatusOr<double> RunPgbench(System& system, harness::PostgresServer& server,
                                  std::vector<std::string> more) {
  ASSIGN_OR_RETURN(const harness::ProgramResult result,
                   harness::RunProgram({.argv = PgbenchArguments(system, server, std::move(more))},
                                       absl::Minutes(10)));
  const size_t at = result.out.find("tps = ");
  double tps = 0;
  if (result.exit_code != 0 || at == std::string::npos ||
      !absl::SimpleAtod(result.out.substr(at + 6, result.out.find(' ', at + 6) - at - 6), &tps)) {
    return absl::InternalError(absl::StrCat("pgbench failed: ", result.err));
  }
  return tps;
}

absl::StatusOr<int64_t> History(System& system, harness::PostgresServer& server) {
  ASSIGN_OR_RETURN(const std::string text,
                   server.QueryValue("SELECT count(*) FROM pgbench_history", system.database()));
  int64_t rows = 0;
  if (!absl::SimpleAtoi(text, &rows)) return absl::InternalError("count(*) gave no number");
  return rows;
}

absl::Status WaitForHistory(System& system, int64_t rows) {
  return harness::WaitFor(
      "the receiver to catch up", absl::Minutes(10), [&]() -> absl::StatusOr<bool> {
        ASSIGN_OR_RETURN(const int64_t here, History(system, system.receiver()));
        return here >= rows;
      });
}

absl::Status MeasureCatchUp(System& system, const Settings& settings, Medians* figures) {
  ASSIGN_OR_RETURN(const int64_t before, History(system, system.receiver()));
  RETURN_IF_ERROR(system.Pause());
  RETURN_IF_ERROR(
      RunPgbench(system, system.source(), {"-t", absl::StrCat(settings.transactions / 4)})
          .status());
  const absl::Time begun = absl::Now();
  RETURN_IF_ERROR(system.Resume());
  RETURN_IF_ERROR(WaitForHistory(system, before + settings.transactions));
  figures->catch_up_tps.push_back(settings.transactions /
                                  absl::ToDoubleSeconds(absl::Now() - begun));
  return absl::OkStatus();
}

absl::Status MeasureUsers(System& system, const Settings& settings, Medians* figures) {
  const std::string seconds = absl::StrCat(settings.seconds);
  ASSIGN_OR_RETURN(const double alone, RunPgbench(system, system.receiver(), {"-T", seconds}));
  ASSIGN_OR_RETURN(
      const std::unique_ptr<harness::ChildProcess> arriving,
      harness::ChildProcess::Start(
          {.name = "pgbench on the source",
           .argv = PgbenchArguments(system, system.source(),
                                    {"-T", seconds, "-R", absl::StrCat(settings.arriving)})}));
  ASSIGN_OR_RETURN(const double kept, RunPgbench(system, system.receiver(), {"-T", seconds}));
  RETURN_IF_ERROR(arriving->WaitForExit(absl::Minutes(2)));
  figures->users_kept.push_back(kept / alone);
  return absl::OkStatus();
}

absl::Status Run(const Settings& settings) {
  using Starter = absl::StatusOr<std::unique_ptr<System>> (*)(int);
  std::map<std::string, Medians> all;
  std::vector<std::string> names;
  for (const Starter start : {Starter{StartBdr}, Starter{StartInCore}, Starter{StartPglogical}}) {
    absl::StatusOr<std::unique_ptr<System>> system = start(settings.scale);
    if (absl::IsNotFound(system.status())) {
      std::printf("left out: %s\n", std::string(system.status().message()).c_str());
      continue;
    }
    if (!system.ok()) return system.status();
    const std::string name = (*system)->name();
    names.push_back(name);
    for (int round = 0; round < settings.rounds; ++round) {
      RETURN_IF_ERROR(MeasureCatchUp(**system, settings, &all[name]));
      std::printf("%-10s round %d: catch-up %8.0f tps\n", name.c_str(), round + 1,
                  all[name].catch_up_tps.back());
      RETURN_IF_ERROR(MeasureUsers(**system, settings, &all[name]));
      std::printf("%-10s round %d: users keep %5.1f %%\n", name.c_str(), round + 1,
                  all[name].users_kept.back() * 100);
      std::fflush(stdout);
    }
  }
  const double ours = Median(all["bdr"].catch_up_tps);
  std::printf("\nmedians of %d rounds\n%-10s %14s %12s %14s\n", settings.rounds, "", "catch-up tps",
              "bdr / this", "users keep");
  for (const std::string& name : names) {
    const double tps = Median(all[name].catch_up_tps);
    std::printf("%-10s %14.0f %12.2f %12.1f %%\n", name.c_str(), tps, ours / tps,
                Median(all[name].users_kept) * 100);
  }
  return absl::OkStatus();
}

struct SequenceParts {
  std::string only = "";  // one part's name; empty: all
  std::string json = "";  // a file; empty: none
  SequenceSettings costs = {};
  DrawSettings draws = {};
  GrantSettings grants = {};
};

absl::Status RunSequences(const SequenceParts& parts) {
  Figures figures;
  const auto wanted = [&parts](const char* name) {
    return parts.only.empty() || parts.only == name;
  };
  if (wanted("costs")) RETURN_IF_ERROR(MeasureSequences(parts.costs, &figures));
  if (wanted("draws")) RETURN_IF_ERROR(MeasureDraws(parts.draws, &figures));
  if (wanted("grants")) RETURN_IF_ERROR(MeasureGrants(parts.grants, &figures));
  return parts.json.empty() ? absl::OkStatus() : figures.Write(parts.json);
}

}  // namespace
}  // namespace bdr::bench

int main(int argc, char** argv) {
  CLI::App app("bdr-bench: bdr beside in-core logical replication and pglogical, in one run.");
  bdr::bench::Settings settings;
  app.add_option("--rounds", settings.rounds, "How often everything is measured");
  app.add_option("--scale", settings.scale, "pgbench's scale");
  app.add_option("--transactions", settings.transactions, "What a receiver catches up with");
  app.add_option("--seconds", settings.seconds, "How long each pgbench of users runs");
  app.add_option("--arriving", settings.arriving, "Transactions a second that arrive meanwhile");
  bdr::bench::IdleSettings idle;
  CLI::App* const idle_app = app.add_subcommand("idle", "What an agent costs on an idle node");
  idle_app->add_option("--seconds", idle.seconds, "How long is measured, fresh and after a load");
  idle_app->add_option("--transactions", idle.transactions, "Of the load between the two");
  bdr::bench::SequenceParts sequences;
  CLI::App* const sequences_app = app.add_subcommand(
      "sequences", "What ids of each sequence access method cost beside PostgreSQL's own");
  sequences_app->add_option("--only", sequences.only, "One part of it: costs, draws or grants")
      ->check(CLI::IsMember({"costs", "draws", "grants"}));
  sequences_app->add_option("--json", sequences.json, "A file that all figures are written to");
  sequences_app->add_option("--rounds", sequences.costs.rounds, "costs: how often all is measured");
  sequences_app->add_option("--milliseconds", sequences.costs.milliseconds,
                            "costs: how long each turn lasts");
  sequences_app->add_option("--seconds", sequences.draws.seconds,
                            "draws: how long each turn lasts");
  sequences_app->add_option("--grant-seconds", sequences.grants.seconds,
                            "grants: how long each turn lasts");
  sequences_app->add_option("--sessions", sequences.draws.sessions, "draws: on each node");
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = idle_app->parsed()        ? bdr::bench::MeasureIdle(idle)
                              : sequences_app->parsed() ? bdr::bench::RunSequences(sequences)
                                                        : bdr::bench::Run(settings);
  if (status.ok()) return 0;
  std::fprintf(stderr, "bdr-bench: %s\n", std::string(status.message()).c_str());
  return 1;
}
