// The configuration that both daemons share: where they listen, who may speak to them, what they
// write about themselves.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/config.h"
#include "base/security_options.h"

namespace bdr {

struct DaemonConfig {
  std::string listen;          // host:port of the gRPC listener
  std::string data_dir;        // absolute, or relative to the working directory
  std::string metrics_listen;  // host:port; empty: none
  SecurityOptions security;
  std::string log_level;  // debug, info, warning or error
  std::string log_file;   // empty: standard error
};

void DeclareListeners(config::Declaration* declaration, DaemonConfig* config);
void DeclareSecurity(config::Declaration* declaration, SecurityOptions* security);
void DeclareLog(config::Declaration* declaration, DaemonConfig* config);

// kInvalidArgument if neither TLS is complete nor `insecure` is set, if both are, or if `insecure`
// meets an address that is not a loopback one. `addresses` are pairs of key and address; `path` is
// the file to name.
absl::Status CheckSecurity(const std::string& path, const SecurityOptions& security,
                           const std::vector<std::pair<std::string, std::string>>& addresses);

}  // namespace bdr
