#include "tests/chaos/prove.h"

#include <cstdio>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/test_hooks.h"
#include "tests/chaos/scenarios.h"

namespace bdr::chaos {
namespace {

constexpr int kNotFound = 3;

const Scenario* Find(const std::string& rule) {
  for (const Scenario& scenario : Scenarios()) {
    if (scenario.rule == rule) return &scenario;
  }
  std::fprintf(stderr, "bdr-chaos: no story shows rule \"%s\"\n", rule.c_str());
  return nullptr;
}

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

// "12.3", or why not.
int Print(const Scenario& scenario, const absl::StatusOr<Proof>& proof) {
  std::string result;
  int code = 0;
  if (!proof.ok()) {
    result = absl::StrCat("cannot be played: ", std::string(proof.status().message()));
    code = 1;
  } else if (!proof->found) {
    result = "NOT FOUND";
    code = kNotFound;
  } else {
    char seconds[32];
    std::snprintf(seconds, sizeof(seconds), "%.1f s", absl::ToDoubleSeconds(proof->until_found));
    result = seconds;
  }
  std::printf("| `%s` | %s | %s |\n", scenario.rule.c_str(), scenario.story.c_str(),
              result.c_str());
  if (proof.ok() && proof->found) {
    std::fprintf(stderr, "  found: %s\n", FirstLine(proof->what).c_str());
  }
  std::fflush(stdout);
  return code;
}

}  // namespace

int ProveAll() {
  std::printf("| rule that is broken | story | found after |\n|---|---|---|\n");
  int worst = 0;
#ifdef BDR_TEST_HOOKS
  for (const absl::string_view rule : test_hooks::kRules) {
    const Scenario* const scenario = Find(std::string(rule));
    const int code = scenario == nullptr ? kNotFound : Print(*scenario, Play(*scenario, true));
    if (code != 0) worst = code;
  }
#else
  std::fprintf(stderr, "bdr-chaos: this build has no test hooks\n");
  worst = 1;
#endif
  return worst;
}

int ProveOne(const std::string& rule) {
  const Scenario* const scenario = Find(rule);
  return scenario == nullptr ? 1 : Print(*scenario, Play(*scenario, /*broken=*/true));
}

int PlayOneKept(const std::string& rule) {
  const Scenario* const scenario = Find(rule);
  if (scenario == nullptr) return 1;
  const absl::StatusOr<Proof> proof = Play(*scenario, /*broken=*/false);
  if (!proof.ok()) {
    std::fprintf(stderr, "bdr-chaos: %s\n", proof.status().ToString().c_str());
    return 1;
  }
  std::printf("%s\n", proof->found ? proof->what.c_str() : "nothing found");
  return proof->found ? kNotFound : 0;
}

int ProveKept() {
  const absl::Status played = PlayAllKept();
  if (!played.ok()) std::fprintf(stderr, "bdr-chaos: %s\n", played.ToString().c_str());
  if (played.ok()) std::printf("all stories, all rules kept: nothing found\n");
  return played.ok() ? 0 : absl::IsDataLoss(played) ? kNotFound : 1;
}

}  // namespace bdr::chaos
