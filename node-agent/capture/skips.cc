#include "node-agent/capture/skips.h"

#include <rocksdb/write_batch.h>

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/test_hooks.h"
#include "node-agent/capture/captured_state.h"
#include "node-agent/capture/wal_pages.h"
#include "node-agent/changelog/state.h"

namespace bdr::agent {
namespace {

// How soon a skip ends whose caller has given up.
constexpr absl::Duration kGivenUpInterval = absl::Milliseconds(200);

}  // namespace

std::string ToString(const Undecodable& undecodable) {
  if (!undecodable.missing.empty()) {
    return absl::StrCat("publication \"", undecodable.missing,
                        "\" is missing, so nothing that was written since can be decoded: make it "
                        "again (bdrctl node setup-sql); what was written meanwhile has to be "
                        "skipped then (bdrctl capture skip): ",
                        undecodable.cause);
  }
  return absl::StrCat("PostgreSQL cannot decode the transaction whose commit record is at ",
                      ToString(undecodable.commit), ": ", undecodable.cause,
                      "; all before it was captured, and nothing behind it can be until it is "
                      "skipped: its changes will be on this node alone then. Run \"bdrctl capture "
                      "skip NODE --lsn ",
                      ToString(undecodable.commit), "\", then \"bdrctl verify --repair\"");
}

absl::StatusOr<CaptureGap> Skips::Ask(Lsn commit, bool until_decodable, absl::Duration timeout,
                                      absl::FunctionRef<bool()> given_up) {
  const absl::Time deadline = SteadyNow() + timeout;
  MutexLock lock(&mu_);
  if (skipping_.has_value()) return absl::UnavailableError("another skip is under way");
  if (!undecodable_.has_value()) {
    return absl::FailedPreconditionError(
        "capture does not stand at a transaction that cannot be decoded: there is nothing to skip");
  }
  if (undecodable_->commit != commit) {
    return absl::FailedPreconditionError(absl::StrCat(
        "capture does not stand at ", ToString(commit), ": ", ToString(*undecodable_)));
  }
  if (!undecodable_->missing.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "publication \"", undecodable_->missing,
        "\" is missing, so whatever is written now cannot be decoded either; make it again (bdrctl "
        "node setup-sql), wait until status does not call it missing any more, and repeat"));
  }
  skipping_ = Skipping{.commit = commit, .until_decodable = until_decodable};
  moved_.NotifyAll();
  while (!stopping_ && !skipping_->ended && SteadyNow() < deadline && !given_up()) {
    moved_.WaitFor(&mu_, std::min(deadline - SteadyNow(), kGivenUpInterval));
  }
  const Skipping done = *skipping_;
  skipping_.reset();
  if (!done.ended) {
    return absl::DeadlineExceededError(
        done.begun ? "not all of it was skipped in time: what was is kept, repeat the command"
                   : "nothing was skipped in time; repeat the command");
  }
  RETURN_IF_ERROR(done.status);
  const std::vector<CaptureGap> gaps = gaps_->all();
  if (gaps.empty()) return absl::NotFoundError("what was skipped was closed meanwhile");
  return gaps.back();
}

void Skips::Stop() {
  MutexLock lock(&mu_);
  stopping_ = true;
  moved_.NotifyAll();
}

bool Skips::InDoubt() const {
  MutexLock lock(&mu_);
  return undecodable_.has_value() || (skipping_.has_value() && !skipping_->ended);
}

void Skips::SleepUntilAsked(absl::Time until) {
  MutexLock lock(&mu_);
  while (!stopping_ && !skipping_.has_value() && SteadyNow() < until) {
    moved_.WaitFor(&mu_, until - SteadyNow());
  }
}

absl::StatusOr<bool> Skips::Pass(const Undecodable& undecodable) {
  if (undecodable.applied) {
    // Its changes came from another node, and would have been left out.
    RETURN_IF_ERROR(WriteDown(undecodable, /*extends=*/false));
    return true;
  }
  const Wish wish = WishFor(undecodable);
  if (wish == Wish::kNone) return false;
  const absl::Status passed = WriteDown(undecodable, /*extends=*/wish == Wish::kAnother);
  MutexLock lock(&mu_);
  if (!passed.ok()) {
    EndLocked(passed);
    return passed;
  }
  undecodable_.reset();
  if (skipping_.has_value()) {  // else who asked has given up waiting
    skipping_->begun = true;
    skipping_->ended = !skipping_->until_decodable;
  }
  moved_.NotifyAll();
  return true;
}

// In this order: nobody asks; a publication is missing, so nothing would ever end it; what was
// asked for is done, as something could be decoded in between; another one was meant.
Skips::Wish Skips::WishFor(const Undecodable& undecodable) {
  MutexLock lock(&mu_);
  undecodable_ = undecodable;
  if (!skipping_.has_value() || skipping_->ended) return Wish::kNone;
  if (!undecodable.missing.empty()) {
    FinishLocked(absl::FailedPreconditionError(ToString(undecodable)));
    return Wish::kNone;
  }
  if (skipping_->begun) {
    if (undecodable.follows) return Wish::kAnother;
    FinishLocked(absl::OkStatus());
    return Wish::kNone;
  }
  if (skipping_->commit == undecodable.commit) return Wish::kFirst;
  FinishLocked(absl::FailedPreconditionError(
      absl::StrCat("capture stands at ", ToString(undecodable.commit), " and not at ",
                   ToString(skipping_->commit), ": ", ToString(undecodable))));
  return Wish::kNone;
}

// The server skips every transaction whose commit record begins before the position that it is
// asked to start at, and decodes whole what commits behind it, whenever that began.
absl::Status Skips::WriteDown(const Undecodable& undecodable, bool extends) {
  BDR_FAIL_POINT("capture_before_skip");
  ASSIGN_OR_RETURN(std::optional<CapturedState> captured, CapturedState::Load(database_));
  if (!captured.has_value()) return absl::InternalError("nothing was captured, and yet skipped");
  if (captured->through >= BehindCommit(undecodable.commit)) {
    return absl::FailedPreconditionError(
        absl::StrCat("the transaction at ", ToString(undecodable.commit),
                     " was passed, and PostgreSQL still fails there: ", undecodable.cause));
  }
  captured->through = BehindCommit(undecodable.commit);
  rocksdb::WriteBatch batch;
  State(database_).Put(&batch, kStateCaptured, captured->Encode());
  if (undecodable.applied) {
    LogWarning("capture", {{"state", "skipped"}, {"lsn", ToString(undecodable.commit)}},
               absl::StrCat("a transaction that was applied here for another node cannot be "
                            "decoded, and need not be: ",
                            undecodable.cause));
    return database_->Write(&batch, /*sync=*/true);
  }
  RETURN_IF_ERROR(gaps_->Skip(undecodable.commit, undecodable.cause,
                              absl::ToUnixMicros(absl::Now()), extends, &batch));
  BDR_FAIL_POINT("capture_after_skip");
  LogError("capture", {{"state", "skipped"}, {"lsn", ToString(undecodable.commit)}},
           absl::StrCat("a transaction of this node cannot be decoded and was skipped, as an "
                        "administrator wished; its changes are on this node alone: ",
                        undecodable.cause));
  return absl::OkStatus();
}

void Skips::End(const absl::Status& status) {
  MutexLock lock(&mu_);
  EndLocked(status);
}

void Skips::Decodes(bool proven) {
  MutexLock lock(&mu_);
  if (proven) EndLocked(absl::OkStatus());
  undecodable_.reset();
}

void Skips::EndLocked(const absl::Status& status) {
  if (!skipping_.has_value() || skipping_->ended) return;
  // Not begun: it was asked for while capture was trying again.
  const bool in_vain = !skipping_->begun && status.ok();
  FinishLocked(in_vain ? absl::FailedPreconditionError("capture decodes: there is nothing to skip")
                       : status);
}

void Skips::FinishLocked(const absl::Status& status) {
  skipping_->ended = true;
  skipping_->status = status;
  moved_.NotifyAll();
}

}  // namespace bdr::agent
