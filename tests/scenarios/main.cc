// bdr-scenario: plays scenario files (docs/scenarios.md) on clusters of their own, one after the
// other. Ends with 0 if all held, 1 if something did not, 2 if a file is no scenario, and 77 if the
// one file given needs a build with test hooks.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/harness/temp_folder.h"
#include "tests/scenarios/parse.h"
#include "tests/scenarios/play.h"

namespace {

#ifdef BDR_TEST_HOOKS
constexpr bool kHooks = true;
#else
constexpr bool kHooks = false;
#endif
constexpr int kSkipped = 77;  // as ctest is told

int PlayFile(const std::string& path) {
  const absl::StatusOr<std::string> text = bdr::harness::ReadFile(path);
  if (!text.ok()) {
    std::cerr << text.status().message() << "\n";
    return 2;
  }
  const absl::StatusOr<bdr::scenarios::Scenario> scenario = bdr::scenarios::Parse(path, *text);
  if (!scenario.ok()) {
    std::cerr << scenario.status().message() << "\n";
    return 2;
  }
  if (scenario->needs_hooks && !kHooks) {
    std::cerr << path << ": skipped: it needs a build with BDR_TEST_HOOKS\n";
    return kSkipped;
  }
  std::cout << path << "\n";
  const absl::StatusOr<std::vector<std::string>> wrong = bdr::scenarios::Play(*scenario, std::cout);
  if (!wrong.ok()) {
    std::cerr << path << ": the nodes do not start: " << wrong.status() << "\n";
    return 1;
  }
  for (const std::string& each : *wrong) std::cerr << each << "\n";
  std::cout << (wrong->empty() ? "all held\n" : "NOT all held\n");
  return wrong->empty() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Plays scenario files on clusters of their own.");
  std::vector<std::string> files;
  app.add_option("file", files, "Scenario files (docs/scenarios.md)")
      ->required()
      ->check(CLI::ExistingFile);
  CLI11_PARSE(app, argc, argv);
  int worst = 0;
  for (const std::string& file : files) {
    const int code = PlayFile(file);
    if (code != kSkipped || files.size() == 1) worst = std::max(worst, code);
  }
  return worst;
}
