#include "node-agent/capture/slot_feedback.h"

#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/test_hooks.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kInterval = absl::Seconds(1);

}  // namespace

bool SlotFeedback::IsDue() const { return SteadyNow() - sent_ > kInterval; }

absl::Status SlotFeedback::Send(bool request_reply) {
  sent_ = SteadyNow();
  // Not what was merely decoded: the next session decodes it again, and asks again.
  history_->Fold(confirmed_);
  BDR_FAIL_POINT("capture_before_confirm");
  RETURN_IF_ERROR(connection_->SendStatus({.write = confirmed_,
                                           .flush = confirmed_,
                                           .apply = confirmed_,
                                           .request_reply = request_reply}));
  BDR_FAIL_POINT("capture_after_confirm");
  return absl::OkStatus();
}

}  // namespace bdr::agent
