// Another node's transactions, from the change log, as soon as they may be applied.
#pragma once

#include <string>

#include "base/origin.h"
#include "base/repetition.h"
#include "node-agent/apply/drive/apply_parts.h"
#include "node-agent/apply/drive/apply_tally.h"
#include "node-agent/apply/plan/group_source.h"
#include "node-agent/apply/plan/readiness.h"
#include "node-agent/apply/session/apply_control.h"

namespace bdr::agent {

// As GroupSource.
class LogSource : public GroupSource {
 public:
  // All outlive it. `origin_name`: for people.
  LogSource(OriginId origin, std::string origin_name, const ApplyParts* parts,
            ApplyControl* control, ApplyTally* tally);

  WorkKind kind() const override { return WorkKind::kRemote; }
  void BeginSession(Lsn committed) override { Restart(committed); }
  absl::StatusOr<bool> Gather(const GroupSizer& sizer) override;
  bool large() const override { return !pending_.front()->last; }
  void Restart(Lsn committed) override;
  absl::StatusOr<PiecePtr> Next(absl::Duration timeout) override;

  void Wake() override { parts_->stores.log->WakeAll(); }
  Lsn reached() const override;
  bool waits() const override;

 private:
  absl::StatusOr<bool> Ready(const Piece& piece);
  Readiness LookAt(const Piece& piece, std::optional<OriginLsn>* missing) const;
  void WaitForOrigin(const Piece& piece, const OriginLsn& missing);
  absl::Status RaiseSettings(uint64_t version);
  void TellOfUnknownSettings(const TransactionHeader& header);
  bool PassesClock(const Piece& piece);
  void HoldToPromise(const TransactionHeader& header);

  const OriginId origin_;
  const std::string origin_name_;
  const ApplyParts* const parts_;
  ApplyControl* const control_;
  ApplyTally* const tally_;
  TransactionReader reader_;
  Repetition broken_promises_;
};

}  // namespace bdr::agent
