#include "conflict/truncate_rule.h"

namespace bdr::conflict {

TruncateVerdict JudgeTruncated(Stamp truncate, const RowMet& row, NodeId own_node,
                               const std::optional<Stamp>& newest) {
  const bool known_local = newest.has_value() && newest->node == own_node &&
                           row.time_us.has_value() && newest->time_us >= *row.time_us;
  if (row.local_writer && !row.captured && !known_local) {
    // A local stamp is never below the commit time. But ALTER TABLE may have rewritten a row that
    // is older, and shows its own time: so that counts only for what has come since capture was
    // waited for, which would never end where users write all the time.
    const bool surely_newer = row.waited && row.time_us.has_value() &&
                              Stamp{.time_us = *row.time_us, .node = own_node} > truncate;
    return surely_newer ? TruncateVerdict::kStays : TruncateVerdict::kWait;
  }
  // What the store does not know is older than anything that can still arrive. Equal stamps are one
  // transaction, of which a row can only stand here if its TRUNCATE is an own one that is merged
  // again, and users wrote the row: behind the TRUNCATE, or it would be gone. Of any other row the
  // newest version tells what the transaction wrote before, or has yet to write: it is older.
  const bool behind_own = newest == truncate && truncate.node == own_node && !row.applied;
  const bool stays = newest.has_value() && (*newest > truncate || behind_own);
  return stays ? TruncateVerdict::kStays : TruncateVerdict::kDies;
}

}  // namespace bdr::conflict
