// A transaction that is applied piece by piece, in one local transaction, so that memory stays
// bounded whatever its size.
//
// Its keys are not known beforehand, so nobody else writes meanwhile. An attempt that meets
// something which has to be waited for becomes a rehearsal: it will be rolled back, and goes on for
// some pieces only to learn what else has to be waited for. Ever more of them at each attempt, so
// that attempts stay few; and few at first, since mostly there is nothing else.
#pragma once

#include <cstdint>
#include <deque>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "node-agent/apply/drive/apply_tools.h"
#include "node-agent/apply/drive/group_body.h"

namespace bdr::agent {

// As GroupBody. What differs is where the pieces come from.
class PiecewiseBody : public GroupBody {
 public:
  absl::Status Prepare() override;
  absl::Status Write(Needs* needs) override;
  absl::Status Meet(const Needs& needs) override;
  absl::Status Recover(const absl::Status& failed) override;
  int64_t newest_us() const override { return stamps_.newest_us; }

 protected:
  // `letter_end`: where it ends, if it had been put aside.
  PiecewiseBody(ApplyTools* tools, int64_t stamp_us, Lsn letter_end)
      : tools_(*tools),
        stamps_({.oldest_us = stamp_us, .newest_us = stamp_us}),
        letter_end_(letter_end) {}

  // Begins, and runs the pieces one after the other until there is none or RunPiece() wants no
  // more.
  virtual absl::Status WritePieces() = 0;

  // Runs a piece in the transaction that is open. False if no more of them are wanted.
  absl::StatusOr<bool> RunPiece(const PiecePtr& piece);
  // What was found has to be captured first.
  void WaitForCaptureOf(const FoundBefore& found);
  // Lets others write, while something else is waited for; and keeps them from it again.
  void GiveUpKeys();
  absl::Status Register();

  ApplyTools& tools_;
  KeysInFlight::Registration registration_;
  FoundBefore found_before_;
  ExecutorOptions options_;

  // Of this attempt.
  struct Attempt {
    size_t look_ahead = 0;  // pieces that a rehearsal still goes on for
    bool rehearsal = false;
    Needs needs = {};
    ConflictCounts conflicts = {};
    uint64_t changes = 0;
    uint64_t orphans = 0;
    bool orphans_queued = false;
    std::deque<DeadLetter> refused = {};
  };
  Attempt attempt_;

 private:
  const StampRange stamps_;
  const Lsn letter_end_;
  size_t look_ahead_ = 4;  // of the next attempt
};

}  // namespace bdr::agent
