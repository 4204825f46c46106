// Two PostgreSQL servers with pgbench's tables, and something that carries changes from the first
// to the second: us, or what we are measured against.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/harness/postgres_server.h"

namespace bdr::bench {

// Not thread-safe.
class System {
 public:
  virtual ~System() = default;
  virtual std::string name() const = 0;
  virtual harness::PostgresServer& source() = 0;
  virtual harness::PostgresServer& receiver() = 0;
  virtual std::string database() const = 0;
  // Stops and goes on receiving; the source goes on collecting changes meanwhile.
  virtual absl::Status Pause() = 0;
  virtual absl::Status Resume() = 0;
};

// This project: an agent beside each server; changes flow both ways.
absl::StatusOr<std::unique_ptr<System>> StartBdr(int scale);
// PostgreSQL's own logical replication, one way.
absl::StatusOr<std::unique_ptr<System>> StartInCore(int scale);
// pglogical, one way. kNotFound if it is not installed (postgresql-15-pglogical).
absl::StatusOr<std::unique_ptr<System>> StartPglogical(int scale);

}  // namespace bdr::bench
