#include "node-agent/upkeep/durability.h"

#include <vector>

#include "base/status_macros.h"
#include "node-agent/changelog/state.h"
#include "node-agent/positions/applied_position.h"

namespace bdr::agent {

absl::Status Durability::Restart(postgres::Connection* connection) {
  ASSIGN_OR_RETURN(const std::vector<AppliedPosition> applied, ReadApplied(*connection));
  std::vector<OriginLsn> visible;
  Lsn local_after;
  for (const AppliedPosition& position : applied) {
    visible.push_back({.origin = position.origin, .lsn = position.lsn});
    local_after = position.local_after;
  }
  positions_.progress->RestartFlushing(visible, local_after);
  clocks_.stable_xid->Reset();
  return absl::OkStatus();
}

// First what is flushed is asked for, then everything is written down and synced, and only then it
// is told: whatever is told was on the disk before.
absl::Status Durability::Flushed(Lsn flush_lsn) {
  const std::vector<OriginLsn> flushed = positions_.progress->FlushedThrough(flush_lsn);
  const Lsn merged = in_flight_.own_changes->low_water();
  if (merged > merged_) {
    RETURN_IF_ERROR(
        State(stores_.database).Put(kStateMerged, EncodeU64(merged.value), /*sync=*/false));
    merged_ = merged;
  }
  RETURN_IF_ERROR(positions_.server_past->Flushed(flushed));
  // Peers trim what is durable here, so the log and the versions must survive as well.
  RETURN_IF_ERROR(stores_.database->Sync());
  positions_.progress->Durable(flushed);
  // What is still to be merged again holds back what may be forgotten: it is to meet the versions
  // that it met when it was committed. After a crash that begins at what is on disk.
  positions_.progress->OwnMerged(merged_);
  return absl::OkStatus();
}

}  // namespace bdr::agent
