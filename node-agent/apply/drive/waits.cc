#include "node-agent/apply/drive/waits.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/invariant.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/test_hooks.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kBarrierTimeout = absl::Seconds(10);
constexpr absl::Duration kTellOfLockAfter = absl::Seconds(1);
constexpr absl::Duration kLockPoll = absl::Milliseconds(100);
// What is in the way may be something else than it was.
constexpr absl::Duration kLockPatience = absl::Seconds(10);
constexpr int kLockPatiencePerAttempt = 10;  // times what the attempt has taken
constexpr absl::Duration kFetchInterval = absl::Milliseconds(200);

}  // namespace

void Waits::CheckNothingLocked() const {
  CheckInvariant(!options_.session->in_transaction(), "apply waits while it holds locks");
}

absl::Status Waits::ForKeys(const Keys& keys, KeysInFlight::Registration* registration) {
  CheckNothingLocked();
  options_.control->activity().Set("waits for other groups that write the same rows");
  if (!own()) BDR_HANG_POINT("apply_keys");
  const NodeId holder = options_.origin.node;
  while (!options_.control->must_leave()) {
    auto [registered, held] =
        keys.all
            ? options_.parts->in_flight.keys->RegisterAll(holder, keys.stamps, absl::Seconds(1))
            : options_.parts->in_flight.keys->Register(holder, keys.keys, keys.stamps,
                                                       absl::Seconds(1), keys.tables);
    if (registered) {
      *registration = std::move(held);
      return absl::OkStatus();
    }
    options_.control->Set(Health::Level::kOk, ApplierState::kWaiting,
                          "for another origin's group that writes the same rows");
  }
  return ToldToStop();
}

absl::StatusOr<std::string> Waits::ForCapture() {
  CheckNothingLocked();
  options_.control->activity().Set("waits until capture has passed this moment");
  if (!own()) BDR_HANG_POINT("apply_capture");
  std::string ended_before;
  // Whatever transaction is older than all that run now has ended, and is captured after this.
  Pipe& pipe = *options_.session->pipe();
  RETURN_IF_ERROR(pipe.Exec(
      "SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::pg_catalog.xid",
      [&ended_before](const postgres::Result& result) {
        ended_before = std::string(result.value(0, 0));
        return absl::OkStatus();
      }));
  RETURN_IF_ERROR(pipe.Finish());
  // It may stand for as long as a person takes (at a transaction that cannot be decoded, say),
  // which is no fault of the transaction that waits for it.
  while (!options_.control->must_leave()) {
    const absl::Status passed = options_.parts->in_flight.barrier->Pass(kBarrierTimeout);
    if (passed.ok()) return ended_before;
    if (!absl::IsDeadlineExceeded(passed)) return passed;
    options_.control->Set(Health::Level::kWarning, ApplierState::kWaiting,
                          absl::StrCat("for capture of this node: ", passed.message()));
  }
  return ToldToStop();
}

absl::Status Waits::ForValues(bool may_be_split) {
  CheckNothingLocked();
  ApplyControl& control = *options_.control;
  std::string told;
  const MissingValues::Fetch fetch{
      .origin = options_.origin,
      .own_node = options_.parts->positions.progress->own().node,
      .stop = [&control] { return control.must_leave(); },
      .wait =
          [&](const std::string& why) {
            if (told != why) {
              LogWarning("apply", {{"state", "waiting"}, {"origin", ToString(options_.origin)}},
                         why);
            }
            told = why;
            control.Set(Health::Level::kWarning, ApplierState::kWaiting, why);
            control.WaitABit(kFetchInterval);
          }};
  control.activity().Set("fetches large values from other nodes");
  control.Set(Health::Level::kOk, ApplierState::kWaiting,
              "for large values of rows from another node");
  if (!own()) BDR_HANG_POINT("apply_values");
  const absl::Status status = options_.values->FetchWanted(fetch, may_be_split);
  options_.tally->Fetched(options_.values->fetched(), options_.values->waits());
  return status;
}

void Waits::ForServerClock(int64_t stamp_us) {
  CheckNothingLocked();
  ApplyControl& control = *options_.control;
  const ClockGate::Verdict verdict =
      options_.parts->clocks.gate->Look(stamp_us, options_.origin_name);
  if (!verdict.go) {
    options_.tally->HeldFor(verdict.held_us);
    control.Set(verdict.level, StateOf(verdict.state), verdict.reason);
    control.WaitABit(verdict.wait);
    return;
  }
  control.Set(Health::Level::kOk, ApplierState::kWaiting,
              "for this server's clock to pass a transaction's");
  control.WaitABit(absl::Milliseconds(2));
  // Whatever hangs from here on is not the clock.
  control.Set(Health::Level::kOk, ApplierState::kApplying);
}

// After some time a person may want to know whose lock it is.
void Waits::TellOfLock() {
  if (blocked_since_ == absl::InfiniteFuture()) blocked_since_ = options_.session->begun_at();
  const std::string& reason = options_.locks->reason();
  if (reason.empty() || SteadyNow() - blocked_since_ < kTellOfLockAfter) return;
  options_.control->Set(Health::Level::kWarning, ApplierState::kWaiting, reason);
  if (std::exchange(blocked_by_, reason) == reason) return;
  LogWarning("apply", {{"state", "waiting"}, {"origin", ToString(options_.origin)}}, blocked_by_);
}

void Waits::LookAtLock() {
  options_.locks->AskAbout(options_.session->connection()->backend_pid());
  TellOfLock();
}

// First finds out what was in the way; then looks every moment whether it still is, for ten times
// as long as the attempt took: an attempt at a large transaction takes long, and keeps every other
// origin from writing.
void Waits::ForLock(const absl::Status& timed_out, bool at_once) {
  CheckNothingLocked();
  ApplyControl& control = *options_.control;
  LockWaits& locks = *options_.locks;
  control.activity().Set("waits for a lock that somebody holds");
  locks.TimedOut(timed_out, options_.session->connection()->backend_pid());
  bool there = locks.knows_holders();
  const absl::Duration patience = std::max(
      kLockPatience, kLockPatiencePerAttempt * (SteadyNow() - options_.session->begun_at()));
  const absl::Time until = SteadyNow() + (at_once ? absl::ZeroDuration() : patience);
  TellOfLock();
  if (!there && !at_once) control.WaitABit(kLockPoll);
  while (there && !control.must_leave() && SteadyNow() < until) {
    control.WaitABit(kLockPoll);
    TellOfLock();
    there = locks.StillThere();
    if (control.TakeRetry()) break;
  }
  locks.SetBrief(there);
}

void Waits::PassedLocks() {
  options_.locks->Passed();
  blocked_since_ = absl::InfiniteFuture();
  blocked_by_.clear();
}

}  // namespace bdr::agent
