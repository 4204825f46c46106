// Finding the rows that may differ: one pass over every table on every node, by hashes.
//
// A table whose key all nodes order alike is compared by ranges of it: each is a scan of an index
// range of bounded size, and where hashes differ the range is halved until its rows are named. The
// others are compared by hash buckets, in one snapshot of the whole table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/pace.h"
#include "ctl/verify.h"
#include "ctl/verify_nodes.h"

namespace bdr::ctl {

struct ScanOptions {
  std::string table;  // as schema.name or name; empty: all
  Pace pace;
  uint64_t chunk_rows = 10000;
  int jobs = 2;  // tables at a time
};

struct TableName {
  std::string schema;
  std::string name;
  friend auto operator<=>(const TableName&, const TableName&) = default;
  std::string Display() const { return schema + "." + name; }
};

struct TableScan {
  TableName name;
  std::vector<std::string> missing_on;
  // Nodes whose columns or key are not those of the first; then rows are not compared.
  std::vector<std::string> shaped_otherwise_on;
  bool has_key = false;
  bool by_range = false;
  std::vector<std::string> columns;
  std::vector<std::string> key_columns;
  size_t largest_node = 0;  // index of the node that may have the most rows

  std::vector<uint64_t> rows;  // by node
  uint64_t differing_chunks = 0;
  // More rows differ than are looked at one by one.
  bool too_many = false;
  RowDifferences candidates;
  std::vector<uint32_t> buckets;  // in which they are, of a table that is not compared by ranges

  Settling settling;

  bool comparable() const { return missing_on.empty() && shaped_otherwise_on.empty(); }
};

// Every table of any node. kNotFound if `options.table` is none.
absl::StatusOr<std::vector<TableScan>> ListTables(const std::vector<VerifyNode>& nodes,
                                                  const ScanOptions& options);

// Fills rows and candidates of all tables.
absl::Status ScanTables(const std::vector<VerifyNode>& nodes, const ScanOptions& options,
                        std::vector<TableScan>* tables);

// The states of these rows on every node now, of all that were asked for.
absl::StatusOr<RowDifferences> ReadAgain(const std::vector<VerifyNode>& nodes,
                                         const TableScan& table, const RowDifferences& rows);

}  // namespace bdr::ctl
