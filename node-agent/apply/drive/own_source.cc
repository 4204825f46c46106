#include "node-agent/apply/drive/own_source.h"

#include <memory>
#include <utility>

#include "base/status_macros.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kOwnIdleWait = absl::Milliseconds(500);

}  // namespace

OwnSource::OwnSource(const ChangeLog* log, OriginId own, OwnChanges* changes, const Replay& replay,
                     ApplyControl* control)
    : log_(log), own_(own), changes_(changes), control_(control), reader_(log, own) {
  if (replay.after >= replay.through) return;
  replaying_ = true;
  replay_through_ = replay.through;
  reader_.Seek(replay.after);
}

// One piece for each change: only what was touched is merged, whatever else its transaction did.
absl::StatusOr<bool> OwnSource::Gather(const GroupSizer& sizer) {
  if (!pending_.empty()) return true;
  if (replaying_) {
    ASSIGN_OR_RETURN(const bool more_is_coming, GatherFromLog(sizer.limits()));
    if (!pending_.empty()) return true;
    if (more_is_coming) return false;
  }
  changes_->Done();
  if (const auto dropped = changes_->TakeDropped(); dropped.has_value()) {
    replaying_ = true;
    replay_through_ = dropped->through;
    reader_.Seek(dropped->after);
    return false;
  }
  for (OwnChange& own : changes_->Take(sizer.limits().transactions, kOwnIdleWait)) {
    ASSIGN_OR_RETURN(Piece piece, MakePiece(std::move(own)));
    pending_.push_back(std::make_shared<const Piece>(std::move(piece)));
  }
  return !pending_.empty();
}

// True if the log is about to have more of what is to be read from it.
absl::StatusOr<bool> OwnSource::GatherFromLog(const GroupSizer::Limits& limits) {
  size_t bytes = 0;
  while (pending_.size() < limits.transactions && bytes < limits.bytes) {
    ASSIGN_OR_RETURN(const Piece* next, reader_.Peek(absl::ZeroDuration()));
    if (next == nullptr || next->header.end_lsn > replay_through_) {
      if (!pending_.empty()) return false;
      if (next == nullptr && log_->CompleteThrough(own_) < replay_through_) {
        control_->WaitABit(absl::Milliseconds(20));  // it is about to be published
        return true;
      }
      replaying_ = false;
      changes_->EndReplay();
      return false;
    }
    if (pending_.empty()) changes_->Replayed(Lsn{next->header.end_lsn.value - 1});
    bytes += next->bytes;
    pending_.push_back(std::make_shared<const Piece>(reader_.Pop()));
  }
  return false;
}

}  // namespace bdr::agent
