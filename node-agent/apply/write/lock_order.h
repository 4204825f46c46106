// The order in which rows of one table are locked: everyone's by the row's name in the version
// store, so that groups do not deadlock.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "node-agent/apply/plan/group_plan.h"
#include "node-agent/apply/write/target_writer.h"

namespace bdr::agent {

inline const std::string& LockName(const RowOp* op) { return op->version_key; }
inline const std::string& LockName(const KeyedRow& row) { return row.version_key; }

template <typename Row>
void SortByKey(std::vector<Row>* rows) {
  std::sort(rows->begin(), rows->end(),
            [](const Row& a, const Row& b) { return LockName(a) < LockName(b); });
}

}  // namespace bdr::agent
