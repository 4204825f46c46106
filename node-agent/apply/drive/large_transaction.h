// A transaction of many blocks, from the change log.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "node-agent/apply/drive/piecewise_body.h"

namespace bdr::agent {

// As GroupBody.
class LargeTransaction : public PiecewiseBody {
 public:
  // The one whose first piece is what is pending. `tools` outlives it.
  explicit LargeTransaction(ApplyTools* tools);

  absl::Status Commit() override;
  int64_t newest_us() const override { return stamp_us_; }

 private:
  absl::Status WritePieces() override;

  const int64_t stamp_us_;
  TransactionHeader last_;
};

}  // namespace bdr::agent
