// Content hashes of whole tables, computed by PostgreSQL, the same on every node that holds the
// same rows: for tables whose keys have no order that all nodes share, or that have no key.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/pace.h"
#include "postgres/connection.h"

namespace bdr::agent {

struct BucketHash {
  uint64_t hash = 0;  // sum (mod 2^64) of the rows' hashes
  uint64_t rows = 0;
};

struct RowHash {
  std::string key;  // "id='1', region='eu'"; of a table without a key "row <hash>"
  uint64_t hash = 0;
  std::vector<std::string> columns;  // of the key, as text
};

// More would be a mistake or an attack.
inline constexpr uint32_t kMostBuckets = 1 << 16;

// Both: one pass over the table, in one snapshot. kNotFound if there is no such table,
// kFailedPrecondition if it does not replicate, kInvalidArgument for a number of buckets, or a
// bucket, that there cannot be.
absl::StatusOr<std::vector<BucketHash>> HashTable(postgres::Connection& connection,
                                                  absl::string_view schema, absl::string_view name,
                                                  uint32_t buckets, const Pace& pace);
// The rows of `wanted` among `buckets`, in no order.
absl::StatusOr<std::vector<RowHash>> HashRows(postgres::Connection& connection,
                                              absl::string_view schema, absl::string_view name,
                                              uint32_t buckets, const std::vector<uint32_t>& wanted,
                                              const Pace& pace);

}  // namespace bdr::agent
