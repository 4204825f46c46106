// Making the rows that differ what one node has: the plan, and carrying it out.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "ctl/output.h"
#include "ctl/verify_nodes.h"
#include "ctl/verify_scan.h"

namespace bdr::ctl {

enum class RepairAction { kInsert, kUpdate, kDelete };
const char* ToString(RepairAction action);

// One row on one node.
struct RepairItem {
  size_t node = 0;  // index among the nodes
  const TableScan* table = nullptr;
  RowKey key;
  RepairAction action = RepairAction::kUpdate;
  std::optional<RowState> from;     // what `from` has
  std::optional<RowState> present;  // what stands on the node
  std::string outcome;              // once it was tried: done, or why not
  bool done = false;
  bool may_wait = false;  // it may be done later, without anyone's doing
};

// What has to be written so that every node has what node `from` (an index) has, for the rows that
// are different beyond doubt, ordered by node, table and key. Tables without a key cannot be
// repaired.
std::vector<RepairItem> PlanRepair(const std::vector<TableScan>& tables, size_t from);

std::string RenderPlan(const std::vector<VerifyNode>& nodes, const std::vector<RepairItem>& plan);
Json PlanJson(const std::vector<VerifyNode>& nodes, const std::vector<RepairItem>& plan);

// Fetches the rows from node `from` and has the other nodes put them in place; fills the outcomes.
// Rows that cannot be copied while their changes are unstable are waited for until the deadline.
absl::Status CarryOut(const std::vector<VerifyNode>& nodes, size_t from, absl::Time deadline,
                      std::vector<RepairItem>* plan);

}  // namespace bdr::ctl
