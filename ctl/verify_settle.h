// Waiting until it is known of every row that may differ whether it does.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "ctl/verify_nodes.h"
#include "ctl/verify_scan.h"

namespace bdr::ctl {

// Looks again at the candidates of all tables, on one frontier after the other, until none is left
// that moves, or the deadline. Gives what could not be waited for: "n2 has not applied what n1
// committed: ..."; empty if every frontier was reached.
absl::StatusOr<std::vector<std::string>> SettleTables(const std::vector<VerifyNode>& nodes,
                                                      absl::Time deadline,
                                                      std::vector<TableScan>* tables);

}  // namespace bdr::ctl
