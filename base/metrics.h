// Metrics in Prometheus form, from one declared list per program.
//
// A metric that is not in the list cannot be used, and a test holds docs/metrics.md to the list, so
// what /metrics shows is what the manual explains.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace bdr {

enum class MetricType { kCounter, kGauge, kHistogram };

struct MetricInfo {
  std::string name;  // with its unit at the end: _seconds, _bytes, _total for counters
  MetricType type = MetricType::kGauge;
  std::string help = "";                 // one line
  std::vector<std::string> labels = {};  // every series of the metric has exactly these
  std::vector<double> buckets = {};      // histograms: upper bounds, rising
};

using MetricLabels = std::map<std::string, std::string>;

// Handles to one series: get one once, keep it as long as the Metrics live, use it from any thread
// without a lock.
class Counter {
 public:
  Counter() = default;  // counts nothing
  void Increment(double by = 1);
  // For what is counted elsewhere: raises the counter to `total`. A lower one, after a restart of
  // what counts, is added. One thread at a time.
  void SetTotal(double total);

 private:
  friend class Metrics;
  explicit Counter(prometheus::Counter* counter) : counter_(counter) {}
  prometheus::Counter* counter_ = nullptr;
};

class Gauge {
 public:
  Gauge() = default;  // shows nothing
  void Set(double value);
  void Add(double value);

 private:
  friend class Metrics;
  explicit Gauge(prometheus::Gauge* gauge) : gauge_(gauge) {}
  prometheus::Gauge* gauge_ = nullptr;
};

class Histogram {
 public:
  Histogram() = default;  // counts nothing
  void Observe(double value);

 private:
  friend class Metrics;
  explicit Histogram(prometheus::Histogram* histogram) : histogram_(histogram) {}
  prometheus::Histogram* histogram_ = nullptr;
};

// All metrics of one process. Thread-safe.
//
// Asking for a metric that is not declared, of another type or with other labels, is a bug in the
// program and ends it with a message.
class Metrics {
 public:
  explicit Metrics(std::vector<MetricInfo> declared);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // The same labels give the same series.
  bdr::Counter GetCounter(const std::string& name, const MetricLabels& labels = {});
  bdr::Gauge GetGauge(const std::string& name, const MetricLabels& labels = {});
  bdr::Histogram GetHistogram(const std::string& name, const MetricLabels& labels = {});

  // Called before each Text(), one call at a time, for values that are asked for and not pushed.
  // Set it before the first Text(); what it uses must outlive the last.
  void OnScrape(std::function<void()> refresh);

  // What /metrics answers, in Prometheus's text format.
  std::string Text();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The rows of the table in docs/metrics.md.
std::string MetricsMarkdownTable(const std::vector<MetricInfo>& declared);

}  // namespace bdr
