#include "node-agent/capture/log_room.h"

#include <algorithm>
#include <string>

#include "base/logging.h"
#include "base/steady_clock.h"
#include "node-agent/capture/capture_state.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kRoomInterval = absl::Milliseconds(200);
// Between two compactions of a log that is full.
constexpr absl::Duration kShortestRoomRest = absl::Seconds(1);
constexpr int kRoomRestFactor = 5;

}  // namespace

bool LogRoom::HasRoom(uint64_t least_bytes) const {
  // Versions, claims and history are not counted: no trim gives them back.
  if (stores_.database->LogBytes() + least_bytes < cap_bytes_) return true;
  // Apply waits for it. If two nodes are full of what the other is to apply, nobody else makes
  // room.
  return waits_->IsAwaited();
}

void LogRoom::Wait() {
  // Each start costs the server some decoding: not one for every block that is trimmed.
  while (!waits_->stopping() && !HasRoom(cap_bytes_ / 10)) {
    // Room is given back by compacting. Where nothing was trimmed that would only rewrite the log,
    // and who waits for capture meanwhile waits for that, too: so it takes a small share of the
    // time.
    const uint64_t trims = stores_.log->trims();
    if (trims != compacted_trims_ && SteadyNow() >= next_compaction_) {
      Compact(trims);
    } else {
      waits_->Sleep(kRoomInterval);
    }
  }
}

void LogRoom::Compact(uint64_t trims) {
  const absl::Time begun = SteadyNow();
  const absl::Status status = stores_.database->CompactLog();
  if (status.ok()) {
    compacted_trims_ = trims;
    (void)compaction_.Works(SteadyNow());
  } else if (compaction_.Failed(std::string(status.message()), SteadyNow())) {
    LogWarning("capture", {{"state", ToString(CaptureState::kPaused)}},
               compaction_.LineText(status.message()));
  }
  const absl::Time ended = SteadyNow();
  next_compaction_ = ended + std::max(kShortestRoomRest, kRoomRestFactor * (ended - begun));
}

}  // namespace bdr::agent
