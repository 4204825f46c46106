// The migrations that are built in, and the way to run others than those: for tests.
#pragma once

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "postgres/connection.h"

namespace bdr::postgres::internal {

struct Migration {
  int version;
  const char* name;
  const char* sql;
};

// Those of postgres/sql/, versions 1, 2, 3 ... without a gap.
absl::Span<const Migration> AllMigrations();

// As Migrate(), with these migrations.
absl::Status MigrateWith(Connection& connection, absl::Span<const Migration> migrations);

}  // namespace bdr::postgres::internal
