#include "base/test_hooks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/testing.h"

namespace bdr {
namespace {

// Each test is a process of its own (gtest_discover_tests), so what the environment switched on
// stays with it.

#ifdef BDR_TEST_HOOKS

TEST(TestHooksTest, NothingIsBrokenUnlessTheEnvironmentSaysSo) {
  unsetenv("BDR_BREAK");
  unsetenv("BDR_FAIL_POINT");
  ASSERT_OK(EnableTestHooks());
  EXPECT_FALSE(BDR_RULE_BROKEN("clock_wait"));
  BDR_FAIL_POINT("apply_before_commit");
}

TEST(TestHooksTest, BreaksTheRulesThatAreNamedAndNoOthers) {
  setenv("BDR_BREAK", "old_key,clock_wait", 1);
  ASSERT_OK(EnableTestHooks());
  EXPECT_TRUE(BDR_RULE_BROKEN("clock_wait"));
  EXPECT_TRUE(BDR_RULE_BROKEN("old_key"));
  EXPECT_FALSE(BDR_RULE_BROKEN("tombstones"));
}

// A test that breaks a rule which is no longer there would prove nothing.
TEST(TestHooksTest, RefusesANameThatIsNotInTheList) {
  setenv("BDR_BREAK", "clock_weight", 1);
  EXPECT_THAT(EnableTestHooks().message(), testing::AllOf(testing::HasSubstr("\"clock_weight\""),
                                                          testing::HasSubstr("clock_wait")));
  unsetenv("BDR_BREAK");
  setenv("BDR_FAIL_POINT", "apply_before_lunch", 1);
  EXPECT_THAT(EnableTestHooks().message(), testing::HasSubstr("\"apply_before_lunch\""));
  setenv("BDR_FAIL_POINT", "apply_before_commit:0", 1);
  EXPECT_THAT(EnableTestHooks().message(), testing::HasSubstr("step:count"));
}

TEST(TestHooksTest, EndsTheProcessAtTheNthPassing) {
  EXPECT_EXIT(
      {
        setenv("BDR_FAIL_POINT", "apply_before_commit:3", 1);
        if (!EnableTestHooks().ok()) exit(1);
        BDR_FAIL_POINT("apply_before_commit");
        BDR_FAIL_POINT("apply_before_commit");
        BDR_FAIL_POINT("apply_after_commit");
        if (getenv("BDR_FAIL_POINT") == nullptr) exit(2);
        BDR_FAIL_POINT("apply_before_commit");
        exit(3);
      },
      testing::KilledBySignal(SIGKILL), "");
}

#else

TEST(TestHooksTest, BuildsWithoutHooksReadNothing) {
  setenv("BDR_BREAK", "no such rule", 1);
  ASSERT_OK(EnableTestHooks());
  static_assert(!BDR_RULE_BROKEN("clock_wait") && !BDR_HAS_HABIT("forget"));
  BDR_FAIL_POINT("apply_before_commit");
}

#endif

}  // namespace
}  // namespace bdr
