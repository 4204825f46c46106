// Where an applier's transactions come from.
//
// A source holds what was taken and is not applied yet (`pending`), in order. What becomes of it is
// the driver's affair: it tells how much of it is done.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/lsn.h"
#include "node-agent/apply/plan/group_sizer.h"
#include "node-agent/apply/plan/transaction_reader.h"
#include "node-agent/apply/plan/work_kind.h"

namespace bdr::agent {

using PiecePtr = std::shared_ptr<const Piece>;

// Belongs to the applier's thread, but for Wake(), reached() and waits().
class GroupSource {
 public:
  virtual ~GroupSource() = default;

  virtual WorkKind kind() const = 0;
  bool own() const { return kind() == WorkKind::kOwn; }

  // A session has begun; the origin is applied up to `committed`.
  virtual void BeginSession(Lsn committed) = 0;
  // Takes what may be applied now, within what `sizer` has room for; waits a moment if there is
  // nothing. True if something is pending. kDataLoss if the log is damaged.
  virtual absl::StatusOr<bool> Gather(const GroupSizer& sizer) = 0;

  const std::deque<PiecePtr>& pending() const { return pending_; }
  // The first pieces are applied, or given up.
  void Done(size_t pieces) {
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<int64_t>(pieces));
  }

  // Whether what is pending is the first part of a large transaction, which is applied piece by
  // piece.
  virtual bool large() const = 0;
  // Its next piece; null if none came within `timeout`. The first one after Restart() becomes what
  // is pending.
  virtual absl::StatusOr<PiecePtr> Next(absl::Duration timeout) = 0;
  // Goes on after `committed`, whatever was taken; nothing is pending then. So a large transaction
  // begins again, or is passed.
  virtual void Restart(Lsn committed) = 0;

  // --- from any thread ---
  // Ends a Gather() that waits.
  virtual void Wake() = 0;
  // How far it was applied, and whether there is more.
  virtual Lsn reached() const = 0;
  virtual bool waits() const = 0;

 protected:
  std::deque<PiecePtr> pending_;
};

}  // namespace bdr::agent
