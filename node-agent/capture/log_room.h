// Whether the change log may grow, and the wait until it may again.
//
// At its cap the log must not grow: better the server keeps WAL than that the disk fills, or that
// something is dropped which a member still needs.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "base/repetition.h"
#include "node-agent/capture/capture_waits.h"
#include "node-agent/changelog/stores.h"

namespace bdr::agent {

// Not thread-safe: belongs to capture's thread.
class LogRoom {
 public:
  // `waits` and what `stores` points to outlive it.
  LogRoom(const Stores& stores, uint64_t cap_bytes, CaptureWaits* waits)
      : stores_(stores), cap_bytes_(cap_bytes), waits_(waits) {}

  // The log may grow; also where it is full and apply waits for what is not captured yet.
  bool HasRoom() const { return HasRoom(0); }
  // Returns once there is room for a while, apply waits for capture, or the agent stops. Gives room
  // back by compacting.
  void Wait();

 private:
  // By so much without being full.
  bool HasRoom(uint64_t least_bytes) const;
  void Compact(uint64_t trims);

  const Stores stores_;
  const uint64_t cap_bytes_;
  CaptureWaits* const waits_;
  std::optional<uint64_t> compacted_trims_;  // of the log, when it was compacted to make room
  absl::Time next_compaction_ = absl::InfinitePast();
  Repetition compaction_;  // of what is logged of them
};

}  // namespace bdr::agent
