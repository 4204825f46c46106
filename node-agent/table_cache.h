// The local tables' shapes, looked up once and shared by capture and every applier.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "postgres/catalog.h"
#include "postgres/connection.h"

namespace bdr::agent {

// Thread-safe. Owns a connection of its own, opened when it is needed.
class TableCache {
 public:
  explicit TableCache(postgres::ConnectOptions options) : options_(std::move(options)) {}

  // kNotFound if there is no such table here.
  absl::StatusOr<std::shared_ptr<const postgres::TableInfo>> Find(absl::string_view schema,
                                                                  absl::string_view name);
  // Forgets a table, or all: its shape may have changed. Who still holds the old one may go on
  // with it, and fails in PostgreSQL if it no longer fits.
  void Forget(absl::string_view schema, absl::string_view name);
  void ForgetAll();

 private:
  const postgres::ConnectOptions options_;
  Mutex mu_;
  absl::flat_hash_map<std::pair<std::string, std::string>,
                      std::shared_ptr<const postgres::TableInfo>>
      tables_ ABSL_GUARDED_BY(mu_);
  // Its own lock: looking a table up takes a round trip, which must not hold up those who hit.
  Mutex connection_mu_;
  std::unique_ptr<postgres::Connection> connection_ ABSL_GUARDED_BY(connection_mu_);
};

}  // namespace bdr::agent
