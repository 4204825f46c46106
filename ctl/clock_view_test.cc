// What an administrator decides by must be what the nodes reported, and what is then asked for must
// be enough for every node.
#include "ctl/clock_view.h"

#include <gmock/gmock.h>

#include "absl/time/time.h"
#include "base/testing.h"
#include "bdr/v1/control.pb.h"

namespace bdr::ctl {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t kNowUs = 1'800'000'000'000'000;
const int64_t kYearUs = absl::ToInt64Microseconds(absl::Hours(24 * 365));

v1::ReportedStatus* AddNode(v1::ClusterStatusResponse& status, const std::string& name) {
  status.set_now_us(kNowUs);
  v1::ReportedStatus* node = status.add_nodes();
  node->mutable_member()->set_name(name);
  node->set_received_us(kNowUs - 200'000);
  node->mutable_status()->set_clock_us(kNowUs - 200'000);
  return node;
}

v1::OriginStatus* AddHeld(v1::ReportedStatus* node, const std::string& origin, int64_t ahead_us) {
  v1::OriginStatus* held = node->mutable_status()->add_origins();
  held->set_name(origin);
  held->set_held_ahead_us(ahead_us);
  held->set_newest_stamp_us(kNowUs + ahead_us);
  return held;
}

TEST(ClockViewTest, AcceptsUpToTheNewestChangeThatAnybodyKnows) {
  v1::ClusterStatusResponse status;
  AddHeld(AddNode(status, "n1"), "n3", 10 * kYearUs);
  AddHeld(AddNode(status, "n2"), "n3", 10 * kYearUs + 5'000'000);  // has received more
  v1::ReportedStatus* jumped = AddNode(status, "n3");
  jumped->mutable_status()->set_clock_us(kNowUs + 10 * kYearUs + 60'000'000);
  jumped->mutable_status()->set_clock_floor_us(kNowUs + 10 * kYearUs + 7'000'000);
  ASSERT_OK_AND_ASSIGN(const ClockStep step, PlanClockStep(status, "n3"));
  EXPECT_EQ(step.ceiling_us, kNowUs + 10 * kYearUs + 7'000'000);
  EXPECT_EQ(step.ahead_us, 10 * kYearUs + 7'000'000);
  EXPECT_GT(step.advance_us, step.ahead_us);
  EXPECT_THAT(ClockStepCosts(step), HasSubstr("3650 days ahead"));
  EXPECT_THAT(ClockStepCosts(step), testing::Not(HasSubstr("do not report")));
}

TEST(ClockViewTest, OneWildClockDoesNotDecideWhatTimeItIs) {
  v1::ClusterStatusResponse status;
  AddHeld(AddNode(status, "n1"), "n4", kYearUs);
  AddNode(status, "n2");
  AddNode(status, "n3")->mutable_status()->set_clock_us(1'000'000);  // 1970
  AddNode(status, "n4")->set_received_us(kNowUs - 60'000'000);
  ASSERT_OK_AND_ASSIGN(const ClockStep step, PlanClockStep(status, "n4"));
  EXPECT_EQ(step.ahead_us, kYearUs);
  EXPECT_THAT(step.silent, ElementsAre("n4"));
  EXPECT_THAT(ClockStepCosts(step), HasSubstr("when they are back: n4"));
}

TEST(ClockViewTest, RefusesWhatIsNotAhead) {
  v1::ClusterStatusResponse status;
  v1::ReportedStatus* node = AddNode(status, "n1");
  node->mutable_status()->set_newest_stamp_us(kNowUs - 1);
  AddNode(status, "n2");
  EXPECT_EQ(PlanClockStep(status, "n1").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(PlanClockStep(status, "n9").status().code(), absl::StatusCode::kNotFound);
  // Accepted before, and the same again.
  AddHeld(node, "n2", kYearUs);
  for (auto& each : *status.mutable_nodes()) {
    each.mutable_status()->set_clock_advance_us(kYearUs + 1);
  }
  EXPECT_THAT(PlanClockStep(status, "n2").status().message(), HasSubstr("accepted already"));
}

TEST(ClockViewTest, ShowsSkewHeldAndPaused) {
  v1::ClusterStatusResponse status;
  v1::ReportedStatus* node = AddNode(status, "n1");
  AddHeld(node, "n2", 5'200'000)->set_clock_skew_us(5'100'000);
  node->mutable_status()->set_newest_stamp_us(kNowUs + 3'000'000);
  const std::string text = ViewClocks(status).text;
  EXPECT_THAT(text, HasSubstr("n2 +5.1 s"));
  EXPECT_THAT(text, HasSubstr("n2 +5.2 s"));
  EXPECT_THAT(text, HasSubstr("3.0 s"));
}

TEST(ClockViewTest, DurationsAreAsExactAsAPersonNeedsThem) {
  EXPECT_EQ(SignedDuration(350), "+0.3 ms");
  EXPECT_EQ(SignedDuration(-5'200'000), "-5.2 s");
  EXPECT_EQ(SignedDuration(10 * kYearUs), "+3650 days");
}

}  // namespace
}  // namespace bdr::ctl
