// bdr-model: plays schedules of the model, and shows the first that goes wrong.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>

#include "tests/model/search.h"

int main(int argc, char** argv) {
  CLI::App app("Plays random schedules of the replication rules in one process.");
  bdr::model::Search search{.schedules = 1'000'000};
  std::string broken;
  search.threads = static_cast<int>(std::thread::hardware_concurrency());
  app.add_option("--schedules", search.schedules, "How many; of one the trace is shown")
      ->capture_default_str();
  app.add_option("--seed", search.first_seed, "The first one's seed")->capture_default_str();
  app.add_option("--threads", search.threads, "Threads")->check(CLI::PositiveNumber);
  std::string names;
  for (const bdr::model::RuleInfo& info : bdr::model::kRules) {
    names += (names.empty() ? "" : ", ") + std::string(info.name);
  }
  app.add_option("--break", broken, "Leave out a rule: " + names);
  CLI11_PARSE(app, argc, argv);
  if (!broken.empty()) {
    const auto rule = bdr::model::FindRule(broken);
    if (!rule.has_value()) {
      std::fprintf(stderr, "no rule is called \"%s\"; there are: %s\n", broken.c_str(),
                   names.c_str());
      return 2;
    }
    search.broken = *rule;
  }
  const auto begun = std::chrono::steady_clock::now();
  const std::optional<bdr::model::Found> found = bdr::model::FindFailure(search);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  if (!found.has_value() && search.schedules == 1) {
    const bdr::model::Setup setup{
        .seed = search.first_seed, .broken = search.broken, .trace = true};
    for (const std::string& line : bdr::model::Play(setup).trace) {
      std::printf("  %s\n", line.c_str());
    }
  }
  if (!found.has_value()) {
    std::printf("%llu schedules in %.1f s, nothing went wrong\n",
                static_cast<unsigned long long>(search.schedules), seconds);
    return 0;
  }
  for (const std::string& line : found->outcome.trace) std::printf("  %s\n", line.c_str());
  std::printf("seed %llu (%d steps, found after %.1f s): %s\n",
              static_cast<unsigned long long>(found->seed), found->outcome.steps, seconds,
              found->outcome.wrong.c_str());
  return 1;
}
