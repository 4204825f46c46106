// What a person configures of bdr-server. docs/configuration.md explains each key.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "base/config.h"
#include "base/daemon_config.h"
#include "server/store/open_store.h"

namespace bdr::server {

struct ServerConfig : DaemonConfig {
  std::string store = kEmbedded;
  EtcdSecurity etcd;

  StoreOptions store_options() const {
    return {.store = store, .data_dir = data_dir, .etcd = etcd};
  }
};

// The declared keys, bound to `config`, which must outlive the result.
config::Declaration DeclareServerConfig(ServerConfig* config);

// kInvalidArgument, kNotFound or kPermissionDenied with the file, line, key and what to write
// instead.
absl::StatusOr<ServerConfig> LoadServerConfig(const std::string& path);

}  // namespace bdr::server
