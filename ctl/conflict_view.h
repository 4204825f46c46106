// What bdrctl says of conflicts: pure, from what the agents answered. Included by .cc files only.
//
// Kinds and rules are shown as they come, so that one which this program does not know is shown
// too.
#pragma once

#include <string>
#include <vector>

#include "bdr/v1/admin.pb.h"
#include "ctl/output.h"

namespace bdr::ctl {

struct FoundConflict {
  std::string node;  // on which it was found
  v1::Conflict conflict;
};

Output ViewConflicts(const v1::Membership& membership, const std::vector<FoundConflict>& all);
// Both rows side by side; a mark where they differ.
Output ViewConflict(const v1::Membership& membership, const FoundConflict& found);
// In sentences: who wrote what when, what each had seen, which rule decided.
Output ExplainConflict(const v1::Membership& membership, const FoundConflict& found);
// What stands there and what will, or does now.
Output ViewUndo(const std::string& node, const v1::UndoConflictResponse& undo);

}  // namespace bdr::ctl
