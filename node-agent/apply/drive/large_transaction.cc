#include "node-agent/apply/drive/large_transaction.h"

#include "base/status_macros.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kPieceWait = absl::Milliseconds(500);

}  // namespace

LargeTransaction::LargeTransaction(ApplyTools* tools)
    : PiecewiseBody(tools, tools->source->pending().front()->header.stamp.time_us,
                    /*letter_end=*/Lsn{}) {}

// From its beginning, also when it is tried again.
absl::Status LargeTransaction::WritePieces() {
  tools_.source->Restart(tools_.session->committed());
  uint64_t tried = 0;
  while (true) {
    ASSIGN_OR_RETURN(const PiecePtr piece, tools_.source->Next(kPieceWait));
    if (tools_.control->must_leave()) return ToldToStop();
    // Its last part was in the log before the first was shown to us, or will come soon.
    if (piece == nullptr) continue;
    last_ = piece->header;
    if (tried == 0) RETURN_IF_ERROR(tools_.session->Begin(newest_us()));
    tools_.control->activity().Set("writes rows of a large transaction");
    ASSIGN_OR_RETURN(const bool more, RunPiece(piece));
    tools_.tally->Reached(++tried);
    if (piece->last || !more) return absl::OkStatus();
  }
}

absl::Status LargeTransaction::Commit() {
  tools_.AnnounceRefused(attempt_.refused);
  MoveTo(GroupPhase::kCommitting);
  RETURN_IF_ERROR(tools_.session->Commit(
      {.end_lsn = last_.end_lsn, .stamp_us = last_.stamp.time_us, .moves_progress = true},
      &registration_));
  MoveTo(GroupPhase::kCommitted);
  tools_.Committed(/*moved_progress=*/true);
  tools_.NoteRefused(attempt_.refused);
  tools_.NoteOrphans(attempt_.orphans, attempt_.orphans_queued);
  tools_.source->Done(tools_.source->pending().size());
  tools_.control->Set(Health::Level::kOk, ApplierState::kApplying);
  tools_.tally->Applied(1, attempt_.changes, attempt_.conflicts);
  return absl::OkStatus();
}

}  // namespace bdr::agent
