// A transaction of many blocks, from the change log.
#pragma once

#include "absl/status/status.h"
#include "node-agent/apply/drive/piecewise_body.h"

namespace bdr::agent {

// As GroupBody.
class LargeTransaction : public PiecewiseBody {
 public:
  // The one whose first piece is what is pending. `tools` outlives it.
  explicit LargeTransaction(ApplyTools* tools);

  absl::Status Commit() override;

 private:
  absl::Status WritePieces() override;

  TransactionHeader last_;
};

}  // namespace bdr::agent
