// Content hashes of tables, computed by PostgreSQL, the same on every node that holds the same
// rows.
//
// A row's hash is taken over the text of its columns in the order of their names, so it depends on
// neither column order nor OIDs; the session must pin what the text depends on (sql_workers.cc).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "postgres/connection.h"

namespace bdr::agent {

struct BucketHash {
  uint64_t hash = 0;  // sum (mod 2^64) of the rows' hashes
  uint64_t rows = 0;
};

struct RowHash {
  std::string key;  // "id='1', region='eu'"; of a table without a key "row <hash>"
  uint64_t hash = 0;
};

// More would be a mistake or an attack.
inline constexpr uint32_t kMostBuckets = 1 << 16;

// Both: one pass over the table, in one snapshot. kNotFound if there is no such table,
// kInvalidArgument for a number of buckets, or a bucket, that there cannot be.
absl::StatusOr<std::vector<BucketHash>> HashTable(postgres::Connection& connection,
                                                  absl::string_view schema, absl::string_view name,
                                                  uint32_t buckets);
// The rows of `wanted` among `buckets`, in no order.
absl::StatusOr<std::vector<RowHash>> HashRows(postgres::Connection& connection,
                                              absl::string_view schema, absl::string_view name,
                                              uint32_t buckets,
                                              const std::vector<uint32_t>& wanted);

}  // namespace bdr::agent
