// A scrape must tell what the status tells, of every origin.
#include "node-agent/report/agent_metrics.h"

#include "bdr/v1/control.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bdr::agent {
namespace {

using ::testing::HasSubstr;

TEST(AgentMetricsTest, AScrapeShowsTheStatus) {
  v1::NodeStatus status;
  status.mutable_node()->set_level(v1::Health::WARNING);
  status.set_log_bytes(4096);
  status.set_transactions_captured(7);
  v1::OriginStatus* origin = status.add_origins();
  origin->set_name("us2");
  origin->set_published_lsn(300);
  origin->set_applied_lsn(100);
  origin->set_lag_ms(1500);
  origin->set_conflicts(2);

  Metrics metrics(AgentMetrics());
  ShowStatus(status, &metrics);
  ShowStatus(status, &metrics);  // totals are not added twice
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("bdr_node_health 1"));
  EXPECT_THAT(text, HasSubstr("bdr_log_bytes 4096"));
  EXPECT_THAT(text, HasSubstr("bdr_transactions_captured_total 7"));
  EXPECT_THAT(text, HasSubstr("bdr_lag_seconds{origin=\"us2\"} 1.5"));
  EXPECT_THAT(text, HasSubstr("bdr_lag_bytes{origin=\"us2\"} 200"));
  EXPECT_THAT(text, HasSubstr("bdr_conflicts_total{origin=\"us2\"} 2"));
}

TEST(AgentMetricsTest, LagIsZeroWhileTheHeartbeatIsOlderThanTheApply) {
  v1::NodeStatus status;
  v1::OriginStatus* origin = status.add_origins();
  origin->set_name("us2");
  origin->set_published_lsn(100);
  origin->set_applied_lsn(300);
  Metrics metrics(AgentMetrics());
  ShowStatus(status, &metrics);
  EXPECT_THAT(metrics.Text(), HasSubstr("bdr_lag_bytes{origin=\"us2\"} 0"));
}

// An alert on it would be silent when it matters most.
TEST(AgentMetricsTest, WhatIsStableIsBehindSinceItWasLastKnown) {
  v1::NodeStatus status;
  status.set_reported_us(90'000'000);
  status.set_stable_us(89'500'000);
  status.set_stable_known_us(89'500'000);
  Metrics metrics(AgentMetrics());
  ShowStatus(status, &metrics);
  EXPECT_THAT(metrics.Text(), HasSubstr("bdr_stable_behind_seconds 0.5"));
  status.set_stable_us(0);
  status.set_reported_us(100'500'000);
  ShowStatus(status, &metrics);
  EXPECT_THAT(metrics.Text(), HasSubstr("bdr_stable_behind_seconds 11"));
  EXPECT_THAT(metrics.Text(), HasSubstr("bdr_stable_timestamp_seconds 0"));
}

}  // namespace
}  // namespace bdr::agent
