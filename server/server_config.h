// What a person configures of bdr-server. docs/configuration.md explains each key.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "base/config.h"
#include "base/daemon_config.h"

namespace bdr::server {

struct ServerConfig : DaemonConfig {};

// The declared keys, bound to `config`, which must outlive the result.
config::Declaration DeclareServerConfig(ServerConfig* config);

// kInvalidArgument, kNotFound or kPermissionDenied with the file, line, key and what to write
// instead.
absl::StatusOr<ServerConfig> LoadServerConfig(const std::string& path);

}  // namespace bdr::server
