#include "node-agent/apply/drive/piecewise_body.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "node-agent/apply/write/gone_log.h"

namespace bdr::agent {

absl::Status PiecewiseBody::Register() {
  RETURN_IF_ERROR(tools_.waits->ForKeys({.all = true, .stamps = stamps_}, &registration_));
  MoveTo(GroupPhase::kRegistered);
  return absl::OkStatus();
}

void PiecewiseBody::GiveUpKeys() {
  registration_.Release();
  MoveTo(GroupPhase::kPlanned);
}

absl::Status PiecewiseBody::Prepare() {
  MoveTo(GroupPhase::kPlanned);
  RETURN_IF_ERROR(Register());
  RETURN_IF_ERROR(tools_.RefreshSettings());
  options_ = tools_.MakeExecutorOptions();
  options_.fold.letter = letter_end_;
  tools_.control->activity().Set("reads foreign keys");
  if (tools_.own()) return absl::OkStatus();
  return tools_.foreign_keys->Refresh(tools_.tables->settings_generation(), tools_.pipe());
}

absl::Status PiecewiseBody::Write(Needs* needs) {
  tools_.values->BeginAttempt();
  attempt_ = {.look_ahead = look_ahead_};
  look_ahead_ = std::min<size_t>(4 * look_ahead_, 1 << 30);
  MoveTo(GroupPhase::kRecorded);  // each piece before it is written
  const absl::Status status = WritePieces();
  attempt_.needs.values = tools_.values->wants();
  // An error that a rehearsal ends with may come of what it left out; if not, the next attempt
  // meets it again.
  *needs = attempt_.needs;
  if (status.ok() && needs->empty()) MoveTo(GroupPhase::kWritten);
  return status;
}

// One piece: its plan and claims, its versions and claims into the store, its rows, and what goes
// with them. In a rehearsal nothing after the rows counts.
absl::StatusOr<bool> PiecewiseBody::RunPiece(const PiecePtr& piece) {
  const bool letter = letter_end_.valid();
  GroupPlan plan(tools_.origin);
  RETURN_IF_ERROR(plan.Add(piece, tools_.tables->Resolver()));
  GroupClaims claims;
  RETURN_IF_ERROR(claims.Read(plan, tools_.claim_reader));
  GroupVersions::Versions before;
  RETURN_IF_ERROR(tools_.versions->Record(
      plan, claims, &before, {.ends_here = piece->last && !letter, .letter = letter_end_}));
  RETURN_IF_ERROR(claims.LookUp(*tools_.parts->stores.claims, tools_.claim_reader));
  RETURN_IF_ERROR(tools_.values->Prepare(plan, before));
  options_.fold.rehearsal = attempt_.rehearsal;
  GroupExecutor executor(options_, tools_.pipe(), tools_.versions, tools_.parts->stores.versions,
                         &found_before_, tools_.values);
  executor.SetClaims(&claims, /*registered=*/nullptr);
  RETURN_IF_ERROR(tools_.foreign_keys->Before(plan, tools_.pipe()));
  RETURN_IF_ERROR(executor.Run(plan, before));
  WaitForCaptureOf(executor.must_wait());
  if (!attempt_.needs.capture.empty() || tools_.values->wants()) {
    attempt_.rehearsal = true;
    return attempt_.look_ahead-- > 0 && !tools_.values->wants_many();
  }
  RETURN_IF_ERROR(tools_.RecordDead(executor));
  RETURN_IF_ERROR(tools_.CheckForeignKeys(plan, letter));
  RETURN_IF_ERROR(QueueShapeCheck(plan, tools_.pipe()));
  attempt_.orphans += tools_.foreign_keys->orphans();
  attempt_.orphans_queued = attempt_.orphans_queued || tools_.foreign_keys->queued();
  attempt_.refused.insert(attempt_.refused.end(), executor.refused().begin(),
                          executor.refused().end());
  attempt_.conflicts.Add(executor.conflicts());
  if (!tools_.own() && !plan.not_written().empty()) {
    RETURN_IF_ERROR(QueueGone(plan, tools_.origin, tools_.pipe(), &attempt_.conflicts));
    // Nothing else may be sent for this piece, and there may be many.
    RETURN_IF_ERROR(tools_.pipe()->Finish());
  }
  attempt_.changes += plan.changes();
  return true;
}

void PiecewiseBody::WaitForCaptureOf(const FoundBefore& found) {
  attempt_.needs.capture.insert(found.begin(), found.end());
}

// Values first: others may need the keys while another node takes its time. Then capture. Earlier
// pieces' rows were decided with what was found before; they will be again.
absl::Status PiecewiseBody::Meet(const Needs& needs) {
  if (needs.values) {
    GiveUpKeys();
    RETURN_IF_ERROR(tools_.waits->ForValues(/*may_be_split=*/false));
    RETURN_IF_ERROR(Register());
  }
  if (needs.capture.empty()) return absl::OkStatus();
  return tools_.WaitForCapture(needs.capture, &options_, &found_before_);
}

absl::Status PiecewiseBody::Recover(const absl::Status& failed) {
  if (postgres::Sqlstate(failed) != kClockBehind) return failed;
  tools_.waits->ForServerClock(stamps_.newest_us);
  return absl::OkStatus();
}

}  // namespace bdr::agent
