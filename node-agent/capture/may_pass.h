// Which errors of the server or of a disk are to be met by trying again.
#pragma once
#include "absl/status/status.h"

namespace bdr::agent {

// Whether to ask again, where an answer that was lost would cost a row's version: only what the
// catalog or a row says for good is an answer.
inline bool MayPass(const absl::Status& status) {
  return !status.ok() && !absl::IsNotFound(status) && !absl::IsFailedPrecondition(status) &&
         !absl::IsInvalidArgument(status);
}

}  // namespace bdr::agent
