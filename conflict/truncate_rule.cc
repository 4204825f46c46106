#include "conflict/truncate_rule.h"

namespace bdr::conflict {

bool MaybeNewer(const TruncateChange& truncate, const FoundRow& found) {
  // This transaction's own come from before the truncate.
  if (found.writer == Writer::kThisTransaction) return false;
  const bool written_here = found.writer == Writer::kLocal || found.node == truncate.own_node;
  return (truncate.merged_again && written_here) ||
         !SurelyOlder(found, truncate.stamp, truncate.largest_raise_us);
}

TruncateVerdict JudgeTruncated(const TruncateChange& truncate, const FoundRow& found,
                               const TruncateKnown& known) {
  if (!MaybeNewer(truncate, found)) return TruncateVerdict::kDies;
  const bool local = found.writer == Writer::kLocal;
  const bool known_local = known.newest != kNever && known.newest.node == truncate.own_node &&
                           found.time_us.has_value() && known.newest.time_us >= *found.time_us;
  if (local && !known.captured && !known_local) {
    // A local stamp is never below the commit time. But ALTER TABLE may have rewritten a row that
    // is older, and shows its own time: so that counts only for what has come since capture was
    // waited for, which would never end where users write all the time.
    const bool surely_newer =
        known.waited && found.time_us.has_value() &&
        Stamp{.time_us = *found.time_us, .node = truncate.own_node} > truncate.stamp;
    return surely_newer ? TruncateVerdict::kStays : TruncateVerdict::kWait;
  }
  // What the store does not know is older than anything that can still arrive. Equal stamps are one
  // transaction, of which a row can only stand here if its TRUNCATE is an own one that is merged
  // again, and users wrote the row: behind the TRUNCATE, or it would be gone. Of any other row the
  // newest version tells what the transaction wrote before, or has yet to write: it is older. So it
  // is of one that an applier wrote last, or own changes that were merged again. (Of one that was
  // repaired the store tells what it is.)
  const bool applied = !local && found.node != 0;
  const bool behind_own =
      known.newest == truncate.stamp && truncate.stamp.node == truncate.own_node && !applied;
  return known.newest > truncate.stamp || behind_own ? TruncateVerdict::kStays
                                                     : TruncateVerdict::kDies;
}

}  // namespace bdr::conflict
