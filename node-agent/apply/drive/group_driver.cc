#include "node-agent/apply/drive/group_driver.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "conflict/stamp.h"
#include "node-agent/apply/drive/large_transaction.h"
#include "node-agent/apply/drive/letter_body.h"
#include "node-agent/apply/drive/whole_group.h"
#include "node-agent/apply/session/left_out.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kRetryInterval = absl::Seconds(30);
constexpr absl::Duration kSoonAgain = absl::Seconds(1);
constexpr absl::Duration kShortWait = absl::Milliseconds(10);

absl::Status SessionLost() { return absl::UnavailableError("the session was lost"); }

}  // namespace

// Write, and if nothing is lacking, commit: that is one attempt. Whatever it ends with but a
// commit, the transaction is left before anything is waited for. Needs come before errors, as an
// attempt that knew that it would be rolled back may have failed by what it left out.
absl::Status Drive(GroupBody* body, ApplySession* session, const ApplyControl& control,
                   ApplyTally* tally) {
  RETURN_IF_ERROR(body->Prepare());
  while (true) {
    Needs needs;
    absl::Status failed = body->Write(&needs);
    if (failed.ok() && needs.empty()) {
      failed = body->Commit();
      if (failed.ok()) return failed;
    }
    // Also where nobody knows whether it was committed: nothing may be tried again in this session.
    if (session->broken()) return failed.ok() ? SessionLost() : failed;
    session->Rollback();
    body->RolledBack();
    if (control.must_leave()) return ToldToStop();
    if (session->broken()) return SessionLost();
    if (absl::IsDataLoss(failed)) return failed;
    RETURN_IF_ERROR(needs.empty() ? body->Recover(failed) : body->Meet(needs));
    if (body->CountsAsRetry(needs)) tally->Retried();
  }
}

absl::Status GroupDriver::TryOnce(size_t size) {
  std::unique_ptr<GroupBody> body;
  if (tools_.source->large()) {
    body = std::make_unique<LargeTransaction>(&tools_);
  } else {
    body = std::make_unique<WholeGroup>(&tools_, size);
  }
  return Drive(body.get(), tools_.session, *tools_.control, tools_.tally);
}

bool GroupDriver::EndsSession(const absl::Status& failed) const {
  return tools_.control->must_leave() || tools_.session->broken() ||
         (absl::IsUnavailable(failed) && !IsLockTimeout(failed)) || absl::IsDataLoss(failed);
}

// One attempt after the other at the first `size` of what is pending. After a success as much comes
// next as before, but for what is left; after a failure what recovery says.
absl::Status GroupDriver::ApplyPending() {
  const std::deque<PiecePtr>& pending = tools_.source->pending();
  size_t size = pending.size();
  recovery_.BeginPending();
  while (!pending.empty() && !tools_.control->stopping()) {
    size = std::min(size, pending.size());
    const size_t waiting = pending.size();
    const absl::Time begun = SteadyNow();
    absl::Status failed = TryOnce(size);
    if (failed.ok()) {
      Succeeded(waiting - pending.size(), SteadyNow() - begun);
      continue;
    }
    // The log may have lost what was begun: nothing is there then to be tried again.
    if (EndsSession(failed) || pending.empty()) return failed;
    tools_.session->Rollback();
    if (tools_.session->broken()) return SessionLost();
    tools_.tally->Retried();
    Recovery::Step step = recovery_.After(failed, size);
    if (step == Recovery::Step::kExplainLeftOut) {
      tools_.control->WaitABit(kShortWait);
      failed = ExplainLeftOut(failed, tools_.pipe());
      if (tools_.session->broken()) return failed;
      step = recovery_.AfterExplanation(failed, size);
    }
    if (step == Recovery::Step::kGiveUp) {
      RETURN_IF_ERROR(GiveUp(failed));
      continue;
    }
    BeforeNext(step, failed, size);
    size = step == Recovery::Step::kAlone ? 1 : GroupSizer::Smaller(size);
  }
  return absl::OkStatus();
}

void GroupDriver::Succeeded(size_t applied, absl::Duration took) {
  group_transactions_.Observe(static_cast<double>(applied));
  group_seconds_.Observe(absl::ToDoubleSeconds(took));
  sizer_.Took(applied, SteadyNow() - tools_.session->begun_at());
  tools_.waits->PassedLocks();
  recovery_.Reset();
  tools_.control->TakeRetry();
}

// What a step asks for before the next attempt.
void GroupDriver::BeforeNext(Recovery::Step step, const absl::Status& failed, size_t size) {
  switch (step) {
    case Recovery::Step::kWaitForLock:
      tools_.waits->ForLock(failed, /*at_once=*/size > 1);
      break;
    case Recovery::Step::kLeftOut:
      if (size == 1) tools_.control->WaitABit(kShortWait);
      break;
    case Recovery::Step::kLookAgain:
      LookUpAnew();
      tools_.control->WaitABit(kShortWait);
      break;
    case Recovery::Step::kAlone:
      LookUpAnew();
      break;
    case Recovery::Step::kSmaller:
    case Recovery::Step::kExplainLeftOut:
    case Recovery::Step::kGiveUp:
      break;
  }
}

void GroupDriver::LookUpAnew() {
  tools_.Unbind();
  tools_.parts->tables->ForgetAll();
}

// The first of what is pending cannot be applied, alone and with everything looked up again.
absl::Status GroupDriver::GiveUp(const absl::Status& failed) {
  LookUpAnew();
  recovery_.Reset();
  ASSIGN_OR_RETURN(const bool gone, DropOrPutAside(failed));
  if (!gone) StopAt(failed);
  return absl::OkStatus();
}

// True if it is out of the way.
absl::StatusOr<bool> GroupDriver::DropOrPutAside(const absl::Status& failed) {
  if (tools_.own() && !IsLeftOut(failed) && IsForGood(failed)) {
    // The table was changed or dropped since: what was committed here is not to be undone.
    LogWarning("apply", {{"origin", ToString(tools_.origin)}},
               absl::StrCat("an own change is not merged again: ", failed.message()));
    tools_.source->Done(1);
    return true;
  }
  tools_.tally->Failed();
  tools_.control->TakeRetry();
  if (!put_aside_.Wanted(failed)) return false;
  const absl::Status put = put_aside_.Do(failed);
  if (put.ok()) return true;
  if (tools_.session->broken() || absl::IsUnavailable(put)) return put;
  tools_.session->Rollback();
  if (tools_.session->broken()) return SessionLost();
  if (refused_letters_.Failed(std::string(put.message()), SteadyNow())) {
    LogError("dead_letter", {{"state", "refused"}, {"origin", ToString(tools_.origin)}},
             refused_letters_.LineText(put.message()));
  }
  if (tools_.source->pending().empty()) return put;
  return false;
}

// Until a person asks for it, or for the next automatic try.
void GroupDriver::StopAt(const absl::Status& failed) {
  const TransactionHeader& header = tools_.source->pending().front()->header;
  tools_.control->Set(
      Health::Level::kCritical, ApplierState::kStopped,
      absl::StrCat("transaction of origin ", ToString(tools_.origin), " at ",
                   ToString(header.end_lsn), ", committed ", conflict::ToString(header.stamp),
                   ", cannot be applied: ", failed.message()));
  // What was said of tables meanwhile may be what it needs.
  if (tools_.parts->settings->generation() == tools_.tables->settings_generation()) {
    tools_.control->WaitABit(absl::IsUnavailable(failed) ? kSoonAgain : kRetryInterval);
  }
  tools_.control->TakeRetry();
}

absl::Status GroupDriver::RetryLetters() {
  while (const std::optional<DeadLetter> letter =
             tools_.parts->dead_letters->NextRequest(tools_.origin)) {
    LookUpAnew();
    LetterBody body(&tools_, *letter);
    const absl::Status outcome = Drive(&body, tools_.session, *tools_.control, tools_.tally);
    tools_.session->Rollback();  // of whatever is queued still: it leads to the body
    tools_.parts->dead_letters->Finish(letter->id, outcome);
    if (outcome.ok()) {
      LogInfo("dead_letter",
              {{"state", "applied"}, {"id", letter->id}, {"origin", ToString(tools_.origin)}});
    }
    if (tools_.session->broken()) return outcome.ok() ? SessionLost() : outcome;
    if (tools_.control->must_leave()) return ToldToStop();
    tools_.control->Set(Health::Level::kOk, ApplierState::kApplying);
  }
  return absl::OkStatus();
}

}  // namespace bdr::agent
