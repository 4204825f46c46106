// The little HTTP server in each daemon: /metrics for Prometheus, /livez and /readyz for whoever
// starts, stops and routes (systemd, Kubernetes, a load balancer).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/config.h"
#include "base/metrics.h"

namespace bdr {

// Serves from construction until destruction, on threads of its own. The callbacks are called on
// those, several at a time, and must not block for long; they and `metrics` must outlive it.
class HttpServer {
 public:
  // Lines that say what is wrong, empty if nothing is.
  using Reasons = std::function<std::vector<std::string>()>;

  struct Options {
    config::HostPort address = {};  // port 0: any free one
    Metrics* metrics = nullptr;
    // Not live: only a restart can help. Not ready: it does not do its work now, and says why.
    Reasons not_live = nullptr;   // unset: always live
    Reasons not_ready = nullptr;  // unset: always ready
  };

  // kUnavailable, with the address and why, if it cannot listen.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const Options& options);

  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const;

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bdr
