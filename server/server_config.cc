#include "server/server_config.h"

#include "base/status_macros.h"

namespace bdr::server {

config::Declaration DeclareServerConfig(ServerConfig* config) {
  config::Declaration keys;
  DeclareListeners(&keys, config);
  DeclareSecurity(&keys, &config->security);
  DeclareLog(&keys, config);
  return keys;
}

absl::StatusOr<ServerConfig> LoadServerConfig(const std::string& path) {
  ServerConfig config;
  RETURN_IF_ERROR(DeclareServerConfig(&config).LoadFile(path));
  RETURN_IF_ERROR(
      CheckSecurity(path, config.security,
                    {{"listen", config.listen}, {"metrics_listen", config.metrics_listen}}));
  return config;
}

}  // namespace bdr::server
