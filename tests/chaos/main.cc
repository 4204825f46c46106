// bdr-chaos: what `./dev chaos` runs. One seed is one run.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/chaos/noticed.h"
#include "tests/chaos/plan.h"
#include "tests/chaos/prove.h"
#include "tests/chaos/run.h"
#include "tests/harness/network.h"
#include "tests/harness/small_disk.h"

namespace bdr::chaos {
namespace {

constexpr int kFound = 3;  // exit code: something that must hold does not

std::string CommandOf(const Options& options) {
  std::string command = absl::StrCat("./dev chaos --seed ", options.seed, " --seconds ",
                                     options.seconds, " --profile ", options.profile);
  if (options.nodes != 0) absl::StrAppend(&command, " --nodes ", options.nodes);
  if (!options.broken.empty()) absl::StrAppend(&command, " --break ", options.broken);
  return command;
}

int RunSeed(const Options& options) {
  std::printf("seed %lu, profile %s%s%s\n", static_cast<unsigned long>(options.seed),
              options.profile.c_str(), options.broken.empty() ? "" : ", without the rule ",
              options.broken.c_str());
  std::fflush(stdout);
  const absl::StatusOr<Plan> plan = MakePlan(options);
  const absl::StatusOr<Outcome> outcome = plan.ok() ? RunOnce(*plan) : plan.status();
  if (!outcome.ok()) {
    std::fprintf(stderr, "bdr-chaos: %s\n", std::string(outcome.status().message()).c_str());
    return 1;
  }
  std::printf("  %s\n", outcome->summary.c_str());
  if (outcome->findings.empty()) return 0;
  std::printf("  FOUND after %.1f s: %s\n", absl::ToDoubleSeconds(outcome->until_found),
              absl::StrJoin(outcome->findings, "\n        ").c_str());
  std::printf("  again: %s\n", CommandOf(options).c_str());
  if (!outcome->folder.empty()) std::printf("  logs: %s\n", outcome->folder.c_str());
  std::fflush(stdout);
  return kFound;
}

// Seed after seed, other profiles in turn, until the time is up or something is found.
int RunLong(Options options, double minutes) {
  const absl::Time until = absl::Now() + absl::Minutes(1) * minutes;
  const bool any_profile = options.profile.empty();
  int runs = 0;
  for (; runs == 0 || absl::Now() < until; ++runs, ++options.seed) {
    if (any_profile) {
      const std::vector<Profile>& profiles = Profiles();
      options.profile = profiles[options.seed % profiles.size()].name;
    }
    if (const int code = RunSeed(options); code != 0) return code;
  }
  std::printf("%d runs, nothing found\n", runs);
  return 0;
}

}  // namespace
}  // namespace bdr::chaos

int main(int argc, char** argv) {
  bdr::chaos::Options options;
  options.profile.clear();
  options.seed = static_cast<uint64_t>(absl::ToUnixMillis(absl::Now()) % 1000000);
  double minutes = 0;
  CLI::App app(
      "Users write on every node of a real cluster while everything fails in turn; afterwards all "
      "nodes must be equal, and nothing lost. Exit code 3: they are not, or something is.");
  app.add_option("--seed", options.seed, "decides all that is random; by default the time");
  app.add_option("--seconds", options.seconds, "how long faults go on in one run")
      ->check(CLI::Range(1, 86400))
      ->capture_default_str();
  app.add_option("--minutes", minutes, "run after run with seed after seed, this long");
  app.add_option("--nodes", options.nodes, "how many nodes; by default the seed decides")
      ->check(CLI::Range(2, 5));
  std::string profiles = "what goes wrong; by default the seed decides:";
  for (const bdr::chaos::Profile& profile : bdr::chaos::Profiles()) {
    absl::StrAppend(&profiles, "\n", profile.name, ": ", profile.about);
  }
  app.add_option("--profile", options.profile, profiles);
  app.add_option("--break", options.broken, "a rule of base/test_hooks.h that the agents break");
  app.add_flag("--keep", options.keep, "keep logs and data also where nothing was found");
  app.add_flag("--verbose", options.verbose, "tell of each fault");
  bool prove = false;
  std::string rule;
  std::string story;
  app.add_flag("--prove", prove,
               "break one rule after the other, each in a small story, and print what found it");
  app.add_option("--prove-rule", rule, "break this one; exit code 0: it was found");
  app.add_option("--story", story, "play the story of this rule with all rules kept");
  bool kept = false;
  app.add_flag("--kept", kept, "play all stories with all rules kept: nothing may be found");
  std::string mode = "faults";
  app.add_option("--mode", mode,
                 "faults: random runs; restore: slots and data folders are lost, or come from the "
                 "past, which must be noticed")
      ->check(CLI::IsMember({"faults", "restore"}))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  // What is mounted for a run goes with us, however we end. Not allowed: nothing is mounted.
  (void)bdr::harness::LeaveMounts();
  // So does the network.
  options.own_network = bdr::harness::LeaveNetwork().ok();
  if (prove) return bdr::chaos::ProveAll();
  if (!rule.empty()) return bdr::chaos::ProveOne(rule);
  if (!story.empty()) return bdr::chaos::PlayOneKept(story);
  if (kept) return bdr::chaos::ProveKept();
  if (mode == "restore") {
    const absl::Status noticed = bdr::chaos::CheckAllNoticed();
    if (!noticed.ok()) std::fprintf(stderr, "bdr-chaos: %s\n", noticed.ToString().c_str());
    return noticed.ok() ? 0 : absl::IsDataLoss(noticed) ? bdr::chaos::kFound : 1;
  }
  return bdr::chaos::RunLong(options, minutes);
}
