#include "node-agent/capture/captured_state.h"

#include "base/status_macros.h"
#include "node-agent/changelog/state.h"

namespace bdr::agent {

absl::StatusOr<std::optional<CapturedState>> CapturedState::Load(Database* database) {
  ASSIGN_OR_RETURN(const std::optional<std::string> bytes, State(database).Get(kStateCaptured));
  if (!bytes.has_value()) return std::optional<CapturedState>();
  // Before ServerPast there were the first two alone.
  if (bytes->size() != 16 && bytes->size() != 32) {
    return absl::DataLossError("the capture position has the wrong length");
  }
  CapturedState state;
  ASSIGN_OR_RETURN(state.through.value, DecodeU64(absl::string_view(*bytes).substr(0, 8)));
  ASSIGN_OR_RETURN(const uint64_t stamp, DecodeU64(absl::string_view(*bytes).substr(8, 8)));
  state.last_stamp_us = static_cast<int64_t>(stamp);
  if (bytes->size() == 16) return std::optional<CapturedState>(state);
  ASSIGN_OR_RETURN(const uint64_t xid, DecodeU64(absl::string_view(*bytes).substr(16, 8)));
  ASSIGN_OR_RETURN(const uint64_t commit_us, DecodeU64(absl::string_view(*bytes).substr(24, 8)));
  state.last = {.xid = static_cast<uint32_t>(xid), .commit_us = static_cast<int64_t>(commit_us)};
  return std::optional<CapturedState>(state);
}

std::string CapturedState::Encode() const {
  return EncodeU64(through.value) + EncodeU64(static_cast<uint64_t>(last_stamp_us)) +
         EncodeU64(last.xid) + EncodeU64(static_cast<uint64_t>(last.commit_us));
}

}  // namespace bdr::agent
