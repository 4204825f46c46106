// What Prometheus's client libraries export of a process, by the same names, and what was built.
// https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/metrics.h"

namespace bdr {

// Of every program of ours.
std::vector<MetricInfo> ProcessMetrics();

// Reads /proc at each call. What cannot be read is left as it was. Any thread.
void ShowProcess(absl::string_view program, absl::string_view version, Metrics* metrics);

// Of each file of certificates when the first of them expires.
void ShowCertificates(const std::vector<std::pair<std::string, absl::Time>>& expiries,
                      Metrics* metrics);

// Resident memory of this process; 0 if it cannot be read.
uint64_t ResidentBytes();

}  // namespace bdr
