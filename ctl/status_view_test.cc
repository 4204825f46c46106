// Each verdict of `bdrctl status`, which scripts and people act on by its exit code.
#include "ctl/status_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "bdr/v1/control.pb.h"
#include "ctl/command.h"
#include "ctl/format.h"

namespace bdr::ctl {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kNow = 1767225600000000;

// `count` active nodes n1, n2, ..., all well, each with a link from every other.
v1::ClusterStatusResponse Good(int count) {
  v1::ClusterStatusResponse status;
  status.set_now_us(kNow);
  status.mutable_membership()->set_cluster_name("shop");
  for (int i = 1; i <= count; ++i) {
    v1::Member* member = status.mutable_membership()->add_members();
    member->set_node_id(i);
    member->set_name(absl::StrCat("n", i));
    member->set_state(v1::Member::ACTIVE);
    v1::ReportedStatus* node = status.add_nodes();
    *node->mutable_member() = *member;
    node->set_received_us(kNow - 1000000);
    node->mutable_status()->mutable_capture()->set_state("streaming");
    for (int peer = 1; peer <= count; ++peer) {
      if (peer == i) continue;
      v1::OriginStatus* origin = node->mutable_status()->add_origins();
      origin->set_node_id(peer);
      origin->set_name(absl::StrCat("n", peer));
      origin->mutable_link()->set_state("streaming");
      origin->mutable_apply()->set_state("applying");
    }
  }
  return status;
}

v1::OriginStatus* Origin(v1::ClusterStatusResponse& status, int node, int index = 0) {
  return status.mutable_nodes(node)->mutable_status()->mutable_origins(index);
}

TEST(StatusViewTest, AGoodClusterIsGood) {
  const StatusView view = ViewCluster(Good(3));
  EXPECT_EQ(view.exit_code, kGood);
  EXPECT_THAT(view.output.text, HasSubstr("cluster shop: OK, 3 nodes"));
  EXPECT_EQ(view.output.document["level"], "ok");
  EXPECT_EQ(view.output.document["nodes"].size(), 3u);
}

TEST(StatusViewTest, AReportThatWasRefusedIsCriticalForAWhile) {
  v1::ClusterStatusResponse status = Good(2);
  status.mutable_nodes(1)->set_refused("node \"n2\" is known by another data_dir");
  status.mutable_nodes(1)->set_refused_us(kNow - 14000000);
  const StatusView view = ViewCluster(status);
  EXPECT_EQ(view.exit_code, kCritical);
  EXPECT_EQ(view.output.document["nodes"][1]["state"], "refused");
  EXPECT_THAT(view.output.text, HasSubstr("is known by another data_dir"));
  status.mutable_nodes(1)->set_refused_us(kNow - 16000000);
  EXPECT_EQ(ViewCluster(status).exit_code, kGood);
}

TEST(StatusViewTest, SilenceOfFiveSecondsIsCritical) {
  v1::ClusterStatusResponse status = Good(2);
  status.mutable_nodes(1)->set_received_us(kNow - 5000000);
  EXPECT_EQ(ViewCluster(status).exit_code, kGood);
  status.mutable_nodes(1)->set_received_us(kNow - 5000001);
  const StatusView view = ViewCluster(status);
  EXPECT_EQ(view.exit_code, kCritical);
  EXPECT_THAT(view.output.text, HasSubstr("its agent has not reported for 5s"));
}

TEST(StatusViewTest, AnActiveNodeThatNeverReportedIsCritical) {
  v1::ClusterStatusResponse status = Good(2);
  status.mutable_nodes(1)->clear_status();
  status.mutable_nodes(1)->set_received_us(0);
  EXPECT_EQ(ViewCluster(status).exit_code, kCritical);
}

TEST(StatusViewTest, AJoiningNodeIsAWarning) {
  v1::ClusterStatusResponse status = Good(2);
  status.mutable_nodes(1)->mutable_member()->set_state(v1::Member::JOINING);
  status.mutable_membership()->mutable_members(1)->set_state(v1::Member::JOINING);
  EXPECT_EQ(ViewCluster(status).exit_code, kWarning);
  status.mutable_nodes(1)->clear_status();
  status.mutable_nodes(1)->set_received_us(0);
  EXPECT_EQ(ViewCluster(status).exit_code, kWarning);
}

TEST(StatusViewTest, AMissingLinkIsAWarning) {
  v1::ClusterStatusResponse status = Good(2);
  status.mutable_nodes(0)->mutable_status()->clear_origins();
  const StatusView view = ViewCluster(status);
  EXPECT_EQ(view.exit_code, kWarning);
  EXPECT_THAT(view.output.text, HasSubstr("no link from n2 yet"));
}

TEST(StatusViewTest, TheWorstPartIsTheVerdictAndItsReasonIsShown) {
  v1::ClusterStatusResponse status = Good(3);
  v1::Health* link = Origin(status, 0)->mutable_link();
  link->set_level(v1::Health::WARNING);
  link->set_state("connecting");
  link->set_reason("connection refused");
  EXPECT_EQ(ViewCluster(status).exit_code, kWarning);

  v1::Health* apply = Origin(status, 2)->mutable_apply();
  apply->set_level(v1::Health::CRITICAL);
  apply->set_state("stopped");
  apply->set_reason("column \"extra\" of table public.t is missing");
  const StatusView view = ViewCluster(status);
  EXPECT_EQ(view.exit_code, kCritical);
  EXPECT_THAT(view.output.text, HasSubstr("connection refused"));
  EXPECT_THAT(view.output.text, HasSubstr("apply of n1: column \"extra\" of table public.t"));

  status = Good(1);
  status.mutable_nodes(0)->mutable_status()->mutable_capture()->set_level(v1::Health::CRITICAL);
  EXPECT_EQ(ViewCluster(status).exit_code, kCritical);
}

TEST(StatusViewTest, ShowsLagQueueAndWhatHoldsWhat) {
  v1::ClusterStatusResponse status = Good(3);
  v1::OriginStatus* origin = Origin(status, 1, 1);
  origin->set_lag_ms(1234);
  origin->set_queued_bytes(2048);
  origin->set_held_by("n1");
  status.mutable_nodes(1)->mutable_status()->set_undecoded_bytes(3 << 20);
  const StatusView view = ViewCluster(status);
  for (const char* text : {"1.2s", "2.0 KiB", "3.0 MiB"}) {
    EXPECT_THAT(view.output.text, HasSubstr(text));
  }
  const Json& shown = view.output.document["nodes"][1]["origins"][1];
  EXPECT_EQ(shown["held_by"], "n1");
  EXPECT_EQ(shown["lag_ms"], 1234);
  EXPECT_FALSE(IsQuiet(status));
  EXPECT_EQ(LongestLag(status), absl::Milliseconds(1234));
  EXPECT_TRUE(IsQuiet(Good(3)));
}

TEST(StatusViewTest, WhoHoldsBackForgettingIsNamed) {
  const auto row_of_n1 = [](const v1::ClusterStatusResponse& status) {
    const std::string text = ViewCluster(status).output.text;
    const size_t at = text.find("\nn1 ");
    return text.substr(at + 1, text.find('\n', at + 1) - at - 1);
  };
  v1::ClusterStatusResponse status = Good(2);
  v1::NodeStatus* own = status.mutable_nodes(0)->mutable_status();
  own->set_reported_us(kNow);
  own->set_clock_us(kNow);
  own->set_stable_us(kNow - 9'999'999);
  own->set_stable_held_by("typo");
  EXPECT_THAT(row_of_n1(status), Not(HasSubstr("typo")));
  own->set_stable_us(kNow - 10'000'000);
  EXPECT_THAT(row_of_n1(status), HasSubstr("typo"));
  // Since a member has never been heard of there is no stable time at all.
  own->set_stable_us(0);
  EXPECT_THAT(row_of_n1(status), HasSubstr("typo"));
}

TEST(StatusViewTest, OneNodeIsShownWithAllThatItReported) {
  v1::ClusterStatusResponse status = Good(2);
  status.mutable_nodes(0)->mutable_status()->set_postgres_version("15.20");
  const Output output = ViewNode(status, "n1");
  EXPECT_THAT(output.text, HasSubstr("15.20"));
  // "received", and not its microseconds since 1970.
  EXPECT_THAT(output.text, HasSubstr(LocalTime(kNow - 1000000)));
  EXPECT_THAT(output.text, Not(HasSubstr(absl::StrCat(kNow - 1000000))));
  EXPECT_EQ(output.document["received_us"], kNow - 1000000);
  EXPECT_EQ(output.document["postgres_version"], "15.20");
  EXPECT_EQ(output.document["origins"][0]["name"], "n2");
}

TEST(StatusViewTest, AClusterWithoutNodesIsGood) {
  EXPECT_EQ(ViewCluster(Good(0)).exit_code, kGood);
}

}  // namespace
}  // namespace bdr::ctl
