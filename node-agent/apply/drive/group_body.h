// What is applied in one local transaction: a group of transactions, one transaction that is too
// large to be held whole, or one that had been put aside.
//
// The driver says when (group_driver.h); a body does what. Its phases are those of
// plan/group_phase.h, and a move that is not drawn there ends the process.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "base/invariant.h"
#include "node-agent/apply/plan/group_phase.h"
#include "node-agent/apply/plan/needs.h"

namespace bdr::agent {

// Belongs to the applier's thread.
class GroupBody {
 public:
  virtual ~GroupBody() = default;

  // Nothing is open. Plans, and registers keys in flight. kAborted: come again.
  virtual absl::Status Prepare() = 0;
  // Begins a transaction in the session and has everything written that can be. What is lacking is
  // added to `needs`, with or without an error: then all of it is to be rolled back.
  virtual absl::Status Write(Needs* needs) = 0;
  // Nothing is needed: commits, and tells everybody.
  virtual absl::Status Commit() = 0;
  // Rolled back. Waits until the needs are met.
  virtual absl::Status Meet(const Needs& needs) = 0;
  // Rolled back because of a lock, a deadlock or another error of Write() or Commit(), which the
  // body may deal with by itself: OK to be tried again. Mostly the same error: it ends the drive.
  virtual absl::Status Recover(const absl::Status& failed) { return failed; }
  // Whether people are to see that it was tried again for that.
  virtual bool CountsAsRetry(const Needs&) const { return true; }
  // No change of it is stamped later.
  virtual int64_t newest_us() const = 0;

  // The session has left the transaction, without a commit.
  void RolledBack() {
    if (phase_ == GroupPhase::kWritten || phase_ == GroupPhase::kCommitting) {
      MoveTo(GroupPhase::kRegistered);
    }
  }
  GroupPhase phase() const { return phase_; }

 protected:
  void MoveTo(GroupPhase to) {
    CheckInvariant(MayMove(phase_, to), "a group makes a move that is not drawn in group_phase.h");
    phase_ = to;
  }

 private:
  GroupPhase phase_ = GroupPhase::kGathered;
};

}  // namespace bdr::agent
