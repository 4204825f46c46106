// What had been put aside and is tried again: by the same rule and its own stamp, as if it came
// now. In place of progress the letter goes, in the same local transaction.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "node-agent/apply/drive/piecewise_body.h"

namespace bdr::agent {

// As GroupBody.
class LetterBody : public PiecewiseBody {
 public:
  // `tools` outlives it.
  LetterBody(ApplyTools* tools, const DeadLetter& letter)
      : PiecewiseBody(tools, letter.stamp_us, letter.end_lsn), letter_(letter) {}

  absl::Status Prepare() override;
  absl::Status Commit() override;
  absl::Status Recover(const absl::Status& failed) override;

 private:
  absl::Status WritePieces() override;
  absl::Status WriteTransaction();
  // A change that the function of the table's policy had refused: its row as its whole history
  // makes it now.
  absl::Status FoldAgain();

  const DeadLetter letter_;
  TransactionHeader header_;
  int aborted_ = 0;  // attempts
};

}  // namespace bdr::agent
