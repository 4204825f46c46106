// /metrics and the like, as a monitoring system would ask for them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bdr::harness {

struct HttpResponse {
  int code = 0;
  std::string body;
};

// GET http://127.0.0.1:port/path. kUnavailable if nobody answers within a few seconds.
absl::StatusOr<HttpResponse> HttpGet(int port, const std::string& path);

// One scrape in Prometheus' text form.
class Metrics {
 public:
  using Labels = std::map<std::string, std::string>;

  static Metrics Parse(absl::string_view text);

  // The sum over all samples of this name whose labels include these. 0 if there is none.
  double Sum(const std::string& name, const Labels& labels = {}) const;
  bool Has(const std::string& name) const;

 private:
  struct Sample {
    Labels labels;
    double value = 0;
  };
  std::map<std::string, std::vector<Sample>> samples_;
};

}  // namespace bdr::harness
