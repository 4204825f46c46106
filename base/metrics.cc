#include "base/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/mutex.h"

namespace bdr {
namespace {

[[noreturn]] void Die(const std::string& message) {
  std::fprintf(stderr, "metrics: %s\n", message.c_str());
  std::abort();
}

}  // namespace

void Counter::Increment(double by) {
  if (counter_ != nullptr) counter_->Increment(by);
}

void Counter::SetTotal(double total) {
  if (counter_ == nullptr) return;
  const double shown = counter_->Value();
  counter_->Increment(total >= shown ? total - shown : total);
}

void Gauge::Set(double value) {
  if (gauge_ != nullptr) gauge_->Set(value);
}

void Gauge::Add(double value) {
  if (gauge_ != nullptr) gauge_->Increment(value);
}

void Histogram::Observe(double value) {
  if (histogram_ != nullptr) histogram_->Observe(value);
}

struct Metrics::Impl {
  struct Declared {
    MetricInfo info;
    // Exactly one is set, by type.
    prometheus::Family<prometheus::Counter>* counters = nullptr;
    prometheus::Family<prometheus::Gauge>* gauges = nullptr;
    prometheus::Family<prometheus::Histogram>* histograms = nullptr;
  };

  const Declared& Find(const std::string& name, MetricType type, const MetricLabels& labels) const {
    const auto found = declared.find(name);
    if (found == declared.end()) Die(absl::StrCat("\"", name, "\" is not declared"));
    const MetricInfo& info = found->second.info;
    bool same = info.type == type && info.labels.size() == labels.size();
    for (const std::string& label : info.labels) same = same && labels.count(label) == 1;
    if (!same) Die(absl::StrCat("\"", name, "\" is declared with another type or other labels"));
    return found->second;
  }

  prometheus::Registry registry;
  std::map<std::string, Declared> declared;  // constant after construction

  Mutex scrape_mu;  // one refresh at a time
  std::function<void()> refresh ABSL_GUARDED_BY(scrape_mu);
};

Metrics::Metrics(std::vector<MetricInfo> declared) : impl_(std::make_unique<Impl>()) {
  for (MetricInfo& info : declared) {
    Impl::Declared entry;
    switch (info.type) {
      case MetricType::kCounter:
        entry.counters =
            &prometheus::BuildCounter().Name(info.name).Help(info.help).Register(impl_->registry);
        break;
      case MetricType::kGauge:
        entry.gauges =
            &prometheus::BuildGauge().Name(info.name).Help(info.help).Register(impl_->registry);
        break;
      case MetricType::kHistogram:
        entry.histograms =
            &prometheus::BuildHistogram().Name(info.name).Help(info.help).Register(impl_->registry);
        break;
    }
    const std::string name = info.name;
    entry.info = std::move(info);
    if (!impl_->declared.emplace(name, std::move(entry)).second) {
      Die(absl::StrCat("\"", name, "\" is declared twice"));
    }
  }
}

Metrics::~Metrics() = default;

bdr::Counter Metrics::GetCounter(const std::string& name, const MetricLabels& labels) {
  return bdr::Counter(&impl_->Find(name, MetricType::kCounter, labels).counters->Add(labels));
}

bdr::Gauge Metrics::GetGauge(const std::string& name, const MetricLabels& labels) {
  return bdr::Gauge(&impl_->Find(name, MetricType::kGauge, labels).gauges->Add(labels));
}

bdr::Histogram Metrics::GetHistogram(const std::string& name, const MetricLabels& labels) {
  const Impl::Declared& declared = impl_->Find(name, MetricType::kHistogram, labels);
  return bdr::Histogram(&declared.histograms->Add(
      labels, prometheus::Histogram::BucketBoundaries(declared.info.buckets)));
}

void Metrics::OnScrape(std::function<void()> refresh) {
  MutexLock lock(&impl_->scrape_mu);
  impl_->refresh = std::move(refresh);
}

std::string Metrics::Text() {
  // The callback runs under this lock, against our rule, because the lock's only job is to keep two
  // scrapes from setting the same counters; it guards nothing that a callback could need.
  MutexLock lock(&impl_->scrape_mu);
  if (impl_->refresh) impl_->refresh();
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

std::string MetricsMarkdownTable(const std::vector<MetricInfo>& declared) {
  std::string text = "| metric | type | labels | meaning |\n|---|---|---|---|\n";
  for (const MetricInfo& info : declared) {
    const char* type = info.type == MetricType::kCounter ? "counter"
                       : info.type == MetricType::kGauge ? "gauge"
                                                         : "histogram";
    absl::StrAppend(&text, "| `", info.name, "` | ", type, " | ", absl::StrJoin(info.labels, ", "),
                    " | ", absl::StrReplaceAll(info.help, {{"|", "\\|"}}), " |\n");
  }
  return text;
}

}  // namespace bdr
