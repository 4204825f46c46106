// The migrations that are built in.
#pragma once

#include "absl/types/span.h"

namespace bdr::postgres::internal {

struct Migration {
  int version;
  const char* name;
  const char* sql;
};

// Those of postgres/sql/, versions 1, 2, 3 ... without a gap.
absl::Span<const Migration> AllMigrations();

}  // namespace bdr::postgres::internal
