// A user's connection that comes back after its server was killed, and a thread that uses it.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "postgres/connection.h"
#include "tests/harness/cluster.h"

namespace bdr::chaos {

// Not thread-safe.
class Client {
 public:
  Client(const harness::Cluster* cluster, std::string node, const std::atomic<bool>* stop)
      : cluster_(cluster), node_(std::move(node)), stop_(stop) {}

  const std::string& node() const { return node_; }
  // Waits for the server; null once the run is to stop.
  postgres::Connection* Get();
  // In the connection that Get() gave.
  absl::StatusOr<postgres::Result> Exec(const std::string& sql) { return connection_->Exec(sql); }

 private:
  const harness::Cluster* const cluster_;
  const std::string node_;
  const std::atomic<bool>* const stop_;
  std::unique_ptr<postgres::Connection> connection_;
};

// A constraint does not allow it: unique, exclusion or foreign key.
bool IsRefused(const absl::Status& status);
// What a user of a database that is killed, stopped and fought over must expect.
bool IsExpected(const absl::Status& status);

}  // namespace bdr::chaos
