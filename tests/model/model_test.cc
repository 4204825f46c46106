// The model finds nothing wrong with the rules as they are, and finds each rule that is left out:
// within the same number of schedules. `bdr-model --schedules N --seed S` plays more of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <string>
#include <thread>

#include "tests/model/search.h"

namespace bdr::model {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint64_t kSchedules = 2'000;
constexpr bool kSanitized = true;
#else
constexpr uint64_t kSchedules = 60'000;
constexpr bool kSanitized = false;
#endif
constexpr int kThreads = 2;

std::string Told(const Found& found) {
  std::string out = "seed " + std::to_string(found.seed) + ": " + found.outcome.wrong;
  for (const std::string& line : found.outcome.trace) out += "\n  " + line;
  return out;
}

TEST(ModelTest, NoScheduleGoesWrong) {
  const std::optional<Found> found =
      FindFailure({.first_seed = 1, .schedules = kSchedules, .threads = kThreads});
  if (found.has_value()) FAIL() << Told(*found);
}

TEST(ModelTest, OneSeedIsOneSchedule) {
  const model::Setup setup{.seed = 42, .trace = true};
  EXPECT_EQ(Play(setup).trace, Play(setup).trace);
  EXPECT_NE(Play(setup).trace, Play({.seed = 43, .trace = true}).trace);
}

class BrokenRuleTest : public ::testing::TestWithParam<RuleInfo> {};

TEST_P(BrokenRuleTest, IsFound) {
  if (kSanitized) GTEST_SKIP() << "takes long under a sanitizer, and shows nothing more there";
  const std::optional<Found> found = FindFailure(
      {.first_seed = 1, .schedules = kSchedules, .broken = GetParam().rule, .threads = kThreads});
  ASSERT_TRUE(found.has_value()) << "no schedule shows that this rule is needed";
  EXPECT_FALSE(found->outcome.trace.empty());
}

std::string NameOf(const ::testing::TestParamInfo<RuleInfo>& info) {
  std::string name;
  bool upper = true;
  for (const char c : info.param.name) {
    if (c != '_') name.push_back(upper ? static_cast<char>(std::toupper(c)) : c);
    upper = c == '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Rules, BrokenRuleTest, ::testing::ValuesIn(kRules), NameOf);

}  // namespace
}  // namespace bdr::model
