#include "conflict/found_rule.h"

namespace bdr::conflict {

bool SurelyOlder(const FoundRow& found, Stamp incoming, int64_t largest_raise_us) {
  return found.time_us.has_value() && *found.time_us + largest_raise_us < incoming.time_us;
}

bool PassesFilter(const FoundRow& found, Stamp incoming, int64_t largest_raise_us,
                  int64_t seen_us) {
  // A row of this transaction has no commit time yet.
  return found.own || (SurelyOlder(found, incoming, largest_raise_us) && *found.time_us <= seen_us);
}

Verdict Judge(const IncomingChange& incoming, const FoundRow* found, const Known& known) {
  const bool is_delete = incoming.kind == ChangeKind::kDelete;
  if (known.newest > incoming.stamp) return Verdict::kDrop;
  // One transaction may have deleted a row and made it again, or the other way round. Merged again
  // is the one change that was touched; what the transaction did to the key last stands already.
  if (incoming.merged_again && known.newest == incoming.stamp && known.newest_dead != is_delete) {
    return Verdict::kNothing;
  }
  if (found == nullptr) {
    if (is_delete) return Verdict::kNothing;
    if (incoming.whole) return Verdict::kVanished;
    // A local delete may not have been captured yet.
    if (known.dead_before == kNever && !known.capture_passed) return Verdict::kWait;
    return Verdict::kInsert;
  }
  if (found->own) return Verdict::kNothing;
  // What a remote origin wrote is in the store, or so old that nothing older can still arrive.
  if (found->local_writer && !SurelyOlder(*found, incoming.stamp, known.largest_raise_us) &&
      !known.capture_passed) {
    return Verdict::kWait;
  }
  return Verdict::kWrite;
}

}  // namespace bdr::conflict
