// A planned change and a stored version, as the rule takes them.
#pragma once

#include "conflict/row_rule.h"
#include "conflict/version_store.h"
#include "node-agent/apply/plan/group_plan.h"
#include "node-agent/apply/plan/seen.h"

namespace bdr::agent {

// `op` outlives it. See conflict::RowChange for the rest.
inline conflict::RowChange ChangeOf(const RowOp& op, NodeId origin, bool sent, bool merged_again) {
  return {.kind = op.kind,
          .stamp = op.stamp,
          .seen = SeenBy(*op.header, origin),
          .whole = op.by_insert,
          .sent = sent,
          .merged_again = merged_again};
}

inline conflict::KnownVersion KnownOf(const conflict::Version& version) {
  return {.stamp = version.stamp, .dead = version.dead};
}

}  // namespace bdr::agent
