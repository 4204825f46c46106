// What /metrics shows must be what was declared and counted.
#include "base/metrics.h"

#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bdr {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::vector<MetricInfo> Declared() {
  return {
      {.name = "bdr_applied_total",
       .type = MetricType::kCounter,
       .help = "a",
       .labels = {"origin"}},
      {.name = "bdr_log_bytes", .type = MetricType::kGauge, .help = "b"},
      {.name = "bdr_apply_seconds",
       .type = MetricType::kHistogram,
       .help = "c",
       .buckets = {0.1, 1}},
  };
}

TEST(MetricsTest, SeriesShowWhatWasCounted) {
  Metrics metrics(Declared());
  Counter counter = metrics.GetCounter("bdr_applied_total", {{"origin", "eu1"}});
  counter.Increment();
  metrics.GetCounter("bdr_applied_total", {{"origin", "eu1"}}).Increment(2);
  metrics.GetGauge("bdr_log_bytes").Set(17);
  Histogram histogram = metrics.GetHistogram("bdr_apply_seconds");
  histogram.Observe(0.5);
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("# TYPE bdr_applied_total counter"));
  EXPECT_THAT(text, HasSubstr("bdr_applied_total{origin=\"eu1\"} 3"));
  EXPECT_THAT(text, HasSubstr("bdr_log_bytes 17"));
  EXPECT_THAT(text, HasSubstr("bdr_apply_seconds_bucket{le=\"0.1\"} 0"));
  EXPECT_THAT(text, HasSubstr("bdr_apply_seconds_bucket{le=\"1\"} 1"));
}

TEST(MetricsTest, ATotalCountedElsewhereNeverGoesBack) {
  Metrics metrics(Declared());
  Counter counter = metrics.GetCounter("bdr_applied_total", {{"origin", "eu1"}});
  counter.SetTotal(10);
  counter.SetTotal(12);
  EXPECT_THAT(metrics.Text(), HasSubstr("{origin=\"eu1\"} 12"));
  counter.SetTotal(3);  // what counts began anew
  EXPECT_THAT(metrics.Text(), HasSubstr("{origin=\"eu1\"} 15"));
}

TEST(MetricsTest, EachScrapeAsksAnew) {
  Metrics metrics(Declared());
  int scrapes = 0;
  metrics.OnScrape([&] { metrics.GetGauge("bdr_log_bytes").Set(++scrapes); });
  EXPECT_THAT(metrics.Text(), HasSubstr("bdr_log_bytes 1"));
  EXPECT_THAT(metrics.Text(), HasSubstr("bdr_log_bytes 2"));
}

TEST(MetricsTest, HandlesMayBeUsedFromManyThreads) {
  Metrics metrics(Declared());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&metrics] {
      Counter counter = metrics.GetCounter("bdr_applied_total", {{"origin", "eu1"}});
      for (int i = 0; i < 1000; ++i) counter.Increment();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(metrics.Text(), HasSubstr("{origin=\"eu1\"} 4000"));
}

TEST(MetricsTest, AHandleToNothingIsHarmless) {
  Counter().Increment();
  Gauge().Set(1);
  Histogram().Observe(1);
}

TEST(MetricsDeathTest, WhatIsNotDeclaredEndsTheProgram) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Metrics metrics(Declared());
  EXPECT_DEATH(metrics.GetGauge("bdr_unknown"), "not declared");
  EXPECT_DEATH(metrics.GetGauge("bdr_applied_total", {{"origin", "eu1"}}), "another type");
  EXPECT_DEATH(metrics.GetCounter("bdr_applied_total", {{"peer", "eu1"}}), "other labels");
}

TEST(MetricsTest, TheTableForTheDocsNamesEveryMetric) {
  EXPECT_THAT(MetricsMarkdownTable(Declared()),
              HasSubstr("| `bdr_applied_total` | counter | origin | a |\n"));
}

}  // namespace
}  // namespace bdr
