#include "server/server_config.h"

#include "base/status_macros.h"

namespace bdr::server {

config::Declaration DeclareServerConfig(ServerConfig* config) {
  config::Declaration keys;
  DeclareListeners(&keys, config);
  keys.String("store", &config->store,
              "where the cluster's state is kept: `embedded` in data_dir, for one bdr-server, or "
              "`etcd://HOST:PORT,HOST:PORT.../PREFIX`, for any number of them",
              {.default_value = kEmbedded,
               .valid = IsStore,
               .expected = "\"embedded\" or a URL such as \"etcd://10.0.0.2:2379,"
                           "10.0.0.3:2379,10.0.0.4:2379/bdr\", without a password"});
  DeclareSecurity(&keys, &config->security);
  keys.Path("etcd.ca", &config->etcd.ca,
            "PEM file: who signs etcd's certificates; without it plaintext, on loopback addresses "
            "only");
  keys.Path("etcd.certificate", &config->etcd.certificate,
            "PEM file: certificate that is shown to etcd");
  keys.Path("etcd.key", &config->etcd.key,
            "PEM file: its private key, readable by its owner alone");
  keys.String("etcd.user", &config->etcd.user, "user of etcd, if it asks for one");
  keys.Path("etcd.password_file", &config->etcd.password_file,
            "file whose first line is the user's password, readable by its owner alone");
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
