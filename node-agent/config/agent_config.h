// What a person configures of bdr-agent. docs/configuration.md explains each key.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/config.h"
#include "base/daemon_config.h"

namespace bdr::agent {

struct AgentConfig : DaemonConfig {
  std::string node;                  // name in the cluster
  std::string database;              // libpq connection string, without a password
  std::vector<std::string> control;  // addresses of bdr-server, tried in turn

  int64_t memory_limit = 0;         // bytes
  int64_t log_retention_bytes = 0;  // cap of the change log on disk
  int64_t block_max_bytes = 0;      // of a block of the change log, before compression
  absl::Duration max_clock_skew;
  absl::Duration heartbeat_interval;

  int64_t apply_group_max_transactions = 0;
  int64_t apply_group_max_bytes = 0;
  absl::Duration apply_group_max_time;
  absl::Duration apply_stall_warning;
  std::string on_apply_error;  // stop or dead_letter
  bool publish_new_tables = true;
  bool forward_foreign_origins = false;

  absl::Duration conflict_log_max_age;
  int64_t conflict_log_max_rows = 0;
};

// The declared keys, bound to `config`, which must outlive the result.
config::Declaration DeclareAgentConfig(AgentConfig* config);

// kInvalidArgument, kNotFound or kPermissionDenied with the file, line, key and what to write
// instead. A connection string never appears in an error: it might hold a secret.
absl::StatusOr<AgentConfig> LoadAgentConfig(const std::string& path);

}  // namespace bdr::agent
