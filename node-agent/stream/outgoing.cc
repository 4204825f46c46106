#include "node-agent/stream/outgoing.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"

namespace bdr::agent {

Outgoing::Outgoing(const ChangeLog* log, Options options)
    : log_(log),
      self_(options.self),
      window_bytes_(options.window_bytes),
      wanted_(std::move(options.wanted)) {}

absl::Status Outgoing::Check() const {
  for (const WantedOrigin& wanted : wanted_) {
    const Cursor end = log_->End(wanted.origin);
    const bool ahead =
        std::pair(end.end_lsn, end.part) < std::pair(wanted.from.end_lsn, wanted.from.part);
    if (ahead && wanted.origin.node != self_) continue;
    RETURN_IF_ERROR(log_->CheckCursor(wanted.origin, wanted.from));
  }
  return absl::OkStatus();
}

absl::Status Outgoing::Prepare() {
  for (size_t i = 0; i < wanted_.size() && !prepared_.has_value(); ++i) {
    prepared_from_ = (turn_ + i) % wanted_.size();
    const WantedOrigin& wanted = wanted_[prepared_from_];
    ASSIGN_OR_RETURN(prepared_, log_->Next(wanted.origin, wanted.from));
  }
  return absl::OkStatus();
}

bool Outgoing::HasRoom(uint64_t consumed_bytes) const {
  const uint64_t under_way = taken_bytes_ - std::min(consumed_bytes, taken_bytes_);
  return under_way == 0 || under_way + prepared_->bytes.size() <= window_bytes_;
}

absl::StatusOr<std::optional<EncodedBlock>> Outgoing::Take(uint64_t consumed_bytes) {
  if (!prepared_.has_value()) RETURN_IF_ERROR(Prepare());
  if (!prepared_.has_value() || !HasRoom(consumed_bytes)) return std::optional<EncodedBlock>();
  taken_bytes_ += prepared_->bytes.size();
  wanted_[prepared_from_].from = prepared_->info.cursor();
  turn_ = (prepared_from_ + 1) % wanted_.size();
  return std::exchange(prepared_, std::nullopt);
}

}  // namespace bdr::agent
