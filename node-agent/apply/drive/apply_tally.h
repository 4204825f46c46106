// What an applier has done since the start, and what it is held up by: counted by its thread, read
// by whoever shows status and metrics.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/mutex.h"
#include "base/origin.h"
#include "node-agent/apply/drive/applier_status.h"
#include "node-agent/apply/write/group_executor.h"

namespace bdr::agent {

// Thread-safe.
class ApplyTally {
 public:
  // Everything but health and state.
  ApplierStatus Get() const;

  void Applied(uint64_t transactions, uint64_t changes, const ConflictCounts& conflicts);
  void Retried();
  void Failed();
  void FoundOrphans(uint64_t orphans);
  void HeldBy(OriginId origin);  // node 0: nobody
  // How far what is held lies ahead of the clock; 0: it is not held for that.
  void HeldFor(int64_t held_us) { held_us_ = held_us; }
  void Oldest(int64_t stamp_us);
  void Fetched(uint64_t rows, uint64_t waits);  // ever

  // An attempt at the present transaction has done so many pieces of it. What begins again gets no
  // further until it passes what another attempt had reached.
  void Reached(uint64_t pieces);
  void Committed() { furthest_piece_ = 0; }
  uint64_t furthest_piece() const { return furthest_piece_; }

 private:
  std::atomic<int64_t> held_us_{0};
  std::atomic<uint64_t> furthest_piece_{0};
  mutable Mutex mu_;
  ApplierStatus counts_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::agent
