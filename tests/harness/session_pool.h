// Sessions of one server that are used again: a new one costs the server a process, which is most
// of what many tests would otherwise use of the CPU.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "postgres/connection.h"

namespace bdr::harness {

// Thread-safe. Whoever takes a session finds it as a new one would be: nothing set, prepared or
// locked in it, and what role and database default to as it is now.
class SessionPool {
 public:
  using Connect = std::function<absl::StatusOr<std::unique_ptr<postgres::Connection>>(
      const std::string& database)>;

  explicit SessionPool(Connect connect) : connect_(std::move(connect)) {}

  absl::StatusOr<std::unique_ptr<postgres::Connection>> Take(const std::string& database);
  // `used_for`: what ran in it. Not to be called for a session in which something failed.
  void GiveBack(const std::string& database, std::unique_ptr<postgres::Connection> session,
                absl::string_view used_for);
  void Clear();

 private:
  const Connect connect_;
  Mutex mu_;
  std::map<std::string, std::vector<std::unique_ptr<postgres::Connection>>> idle_
      ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::harness
