// This node's own changes that are merged once more: those that capture hands over, and after a
// start, or when too many waited, what stands in the own log.
#pragma once

#include "base/origin.h"
#include "node-agent/apply/plan/group_source.h"
#include "node-agent/apply/session/apply_control.h"
#include "node-agent/changelog/change_log.h"
#include "node-agent/inflight/own_changes.h"

namespace bdr::agent {

// As GroupSource.
class OwnSource : public GroupSource {
 public:
  struct Replay {  // a part of the own log of which every change is merged again
    Lsn after = {};
    Lsn through = {};
  };
  // All outlive it.
  OwnSource(const ChangeLog* log, OriginId own, OwnChanges* changes, const Replay& replay,
            ApplyControl* control);

  WorkKind kind() const override { return WorkKind::kOwn; }
  // What is pending stays: it is nowhere else.
  void BeginSession(Lsn) override {}
  absl::StatusOr<bool> Gather(const GroupSizer& sizer) override;
  // What is merged again comes change by change, whatever its transaction was.
  bool large() const override { return false; }
  void Restart(Lsn) override {}
  absl::StatusOr<PiecePtr> Next(absl::Duration) override { return PiecePtr(); }

  void Wake() override { changes_->Wake(); }
  Lsn reached() const override { return changes_->low_water(); }
  bool waits() const override { return changes_->waits(); }

 private:
  absl::StatusOr<bool> GatherFromLog(const GroupSizer::Limits& limits);

  const ChangeLog* const log_;
  const OriginId own_;
  OwnChanges* const changes_;
  ApplyControl* const control_;
  TransactionReader reader_;
  bool replaying_ = false;  // own changes are read from the log
  Lsn replay_through_;      // up to here
};

}  // namespace bdr::agent
