// The local tables' shapes, looked up once and shared by capture and every applier.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

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

  // kNotFound if there is no such table here. kUnavailable, naming who, if somebody keeps everybody
  // else out of it, or of a part of it, and what is to be told of it needs a look inside.
  absl::StatusOr<std::shared_ptr<const postgres::TableInfo>> Find(absl::string_view schema,
                                                                  absl::string_view name);
  // The same by its OID, under whatever name it has by now; with `anew` its shape is read again.
  absl::StatusOr<std::shared_ptr<const postgres::TableInfo>> FindByOid(uint32_t oid, bool anew);
  // When a table, or one of its columns, was made or last altered, as far as PostgreSQL still knows
  // it: µs since 1970, 0 for long ago. Not cached. kNotFound as above.
  absl::StatusOr<int64_t> TableMadeUs(absl::string_view schema, absl::string_view name);
  absl::StatusOr<int64_t> ColumnMadeUs(absl::string_view schema, absl::string_view name,
                                       absl::string_view column);
  // The server's clock, µs since 1970.
  absl::StatusOr<int64_t> ClockUs();
  absl::StatusOr<bool> HasSchema(absl::string_view schema);
  // Forgets a table, or all: its shape may have changed. Who still holds the old one may go on
  // with it, and fails in PostgreSQL if it no longer fits.
  void Forget(absl::string_view schema, absl::string_view name);
  void ForgetAll();

 private:
  absl::StatusOr<postgres::Result> Ask(const std::string& sql,
                                       const std::vector<std::string>& values);
  absl::StatusOr<postgres::TableInfo> Load(absl::string_view schema, absl::string_view name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(connection_mu_);
  absl::Status NameHolders(absl::string_view schema, absl::string_view name,
                           const absl::Status& timed_out)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(connection_mu_);
  absl::Status Connect() ABSL_EXCLUSIVE_LOCKS_REQUIRED(connection_mu_);

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
