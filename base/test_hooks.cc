#include "base/test_hooks.h"

#ifdef BDR_TEST_HOOKS

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/logging.h"
#include "base/status_macros.h"

namespace bdr {
namespace test_hooks {
namespace {

std::array<std::atomic<bool>, kRules.size()> broken{};
std::array<std::atomic<bool>, kHabits.size()> habits{};
// How many more passings until the process ends; 0: never.
std::array<std::atomic<int>, kFailPoints.size()> passings{};
// Written before any thread runs.
std::array<std::string, kHangPoints.size()> hang_files{};

template <size_t N>
absl::Status Find(const std::array<absl::string_view, N>& names, absl::string_view variable,
                  absl::string_view name, size_t* place) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    return absl::InvalidArgumentError(absl::StrCat("environment variable ", variable, ": \"", name,
                                                   "\" is none of ", absl::StrJoin(names, ", ")));
  }
  *place = static_cast<size_t>(found - names.begin());
  return absl::OkStatus();
}

template <size_t N>
absl::Status SwitchOn(const std::array<absl::string_view, N>& names, absl::string_view variable,
                      absl::string_view value, std::array<std::atomic<bool>, N>* switches) {
  for (const absl::string_view name : absl::StrSplit(value, ',', absl::SkipEmpty())) {
    size_t place = 0;
    RETURN_IF_ERROR(Find(names, variable, name, &place));
    (*switches)[place] = true;
  }
  return absl::OkStatus();
}

absl::Status SetFailPoints(absl::string_view points) {
  for (const absl::string_view point : absl::StrSplit(points, ',', absl::SkipEmpty())) {
    const std::vector<absl::string_view> parts = absl::StrSplit(point, ':');
    size_t place = 0;
    RETURN_IF_ERROR(Find(kFailPoints, "BDR_FAIL_POINT", parts[0], &place));
    int count = 1;
    if (parts.size() > 2 || (parts.size() == 2 && !absl::SimpleAtoi(parts[1], &count)) ||
        count < 1) {
      return absl::InvalidArgumentError(absl::StrCat("environment variable BDR_FAIL_POINT: \"",
                                                     point, "\" is not step or step:count"));
    }
    passings[place] = count;
  }
  return absl::OkStatus();
}

absl::Status SetHangPoints(absl::string_view points) {
  for (const absl::string_view point : absl::StrSplit(points, ',', absl::SkipEmpty())) {
    const std::vector<std::string> parts = absl::StrSplit(point, absl::MaxSplits(':', 1));
    size_t place = 0;
    RETURN_IF_ERROR(Find(kHangPoints, "BDR_HANG_POINT", parts[0], &place));
    if (parts.size() != 2 || parts[1].empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("environment variable BDR_HANG_POINT: \"", point, "\" is not step:file"));
    }
    hang_files[place] = parts[1];
  }
  return absl::OkStatus();
}

}  // namespace

bool RuleBroken(size_t rule) { return broken[rule].load(std::memory_order_relaxed); }

bool HasHabit(size_t habit) { return habits[habit].load(std::memory_order_relaxed); }

void PassFailPoint(size_t point) {
  if (passings[point].load(std::memory_order_relaxed) == 0) return;
  if (passings[point].fetch_sub(1) != 1) return;
  // As from outside: no destructor, no flush, no word in the log.
  kill(getpid(), SIGKILL);
}

void PassHangPoint(size_t point) {
  while (!hang_files[point].empty() && access(hang_files[point].c_str(), F_OK) == 0) {
    usleep(20'000);
  }
}

}  // namespace test_hooks

absl::Status EnableTestHooks() {
  const auto environment = [](const char* name) -> absl::string_view {
    const char* const value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  const absl::string_view rules = environment("BDR_BREAK");
  const absl::string_view habits = environment("BDR_STRESS");
  const absl::string_view points = environment("BDR_FAIL_POINT");
  RETURN_IF_ERROR(
      test_hooks::SwitchOn(test_hooks::kRules, "BDR_BREAK", rules, &test_hooks::broken));
  RETURN_IF_ERROR(
      test_hooks::SwitchOn(test_hooks::kHabits, "BDR_STRESS", habits, &test_hooks::habits));
  RETURN_IF_ERROR(test_hooks::SetFailPoints(points));
  const absl::string_view hangs = environment("BDR_HANG_POINT");
  RETURN_IF_ERROR(test_hooks::SetHangPoints(hangs));
  if (!rules.empty() || !habits.empty() || !points.empty() || !hangs.empty()) {
    LogWarning("test_hooks",
               {{"broken", rules}, {"habits", habits}, {"fail_at", points}, {"hang_at", hangs}},
               "this process does wrong on purpose, for a test: nothing here is safe");
  }
  return absl::OkStatus();
}

}  // namespace bdr

#else

namespace bdr {

absl::Status EnableTestHooks() { return absl::OkStatus(); }

}  // namespace bdr

#endif
