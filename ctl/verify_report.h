// What verify says in the end.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ctl/output.h"
#include "ctl/verify_nodes.h"
#include "ctl/verify_scan.h"

namespace bdr::ctl {

// A row that is different, told in detail.
struct DifferentRow {
  const TableScan* table = nullptr;
  RowKey key;
  RowStates states;
  std::vector<std::string> columns;              // that differ between the nodes that have the row
  std::vector<std::vector<std::string>> values;  // by node, of those; empty unless asked for
};

struct VerifyReport {
  int exit_code = 0;
  Output output;
};

// Asks the nodes in which columns the first `most` different rows of each table differ, and with
// what values if `with_values`.
absl::StatusOr<std::vector<DifferentRow>> DescribeRows(const std::vector<VerifyNode>& nodes,
                                                       const std::vector<TableScan>& tables,
                                                       size_t most, bool with_values);

// `missing` as SettleTables() gave it.
VerifyReport RenderVerify(const std::vector<VerifyNode>& nodes,
                          const std::vector<TableScan>& tables,
                          const std::vector<DifferentRow>& rows,
                          const std::vector<std::string>& missing);

}  // namespace bdr::ctl
