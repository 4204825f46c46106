#include "node-agent/upkeep/forgetting.h"

#include <algorithm>

#include "base/status_macros.h"
#include "base/test_hooks.h"

namespace bdr::agent {
namespace {

// Of rows that fold, at each look: enough for tens of thousands a second.
constexpr size_t kSweptKeys = 5000;

}  // namespace

absl::Status Forgetting::Forget(Lsn merged) {
  const int64_t stable_us = positions_.progress->StableTime();
  stores_.database->SetStableTime(stable_us);
  // Capture's position before the stamps: what it had passed by then is among them.
  const Lsn captured = capture_->counters().captured;
  clocks_.stable_xid->Advance(
      captured, std::max(clocks_.stamps->Newest(), positions_.applied->NewestStamp()), stable_us);
  RETURN_IF_ERROR(sweeper_.Sweep(stable_us, merged, captured, kSweptKeys));
  for (const OriginId& origin : stores_.log->Origins()) {
    const Lsn stable = positions_.progress->StableLsn(origin);
    if (!stable.valid()) continue;
    RETURN_IF_ERROR(stores_.log->Trim(origin, stable));
  }
  return BDR_HAS_HABIT("forget") ? stores_.database->Reclaim() : absl::OkStatus();
}

}  // namespace bdr::agent
