#include "node-agent/apply/drive/log_source.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/test_hooks.h"
#include "node-agent/changelog/state.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kLogIdleWait = absl::Milliseconds(500);

}  // namespace

LogSource::LogSource(OriginId origin, std::string origin_name, const ApplyParts* parts,
                     ApplyControl* control, ApplyTally* tally)
    : origin_(origin),
      origin_name_(std::move(origin_name)),
      parts_(parts),
      control_(control),
      tally_(tally),
      reader_(parts->stores.log, origin) {}

void LogSource::Restart(Lsn committed) {
  pending_.clear();  // the log has them
  reader_.Seek(committed);
}

Lsn LogSource::reached() const {
  return parts_->positions.progress->CommittedLsn(origin_).value_or(Lsn{0});
}

bool LogSource::waits() const { return parts_->stores.log->CompleteThrough(origin_) > reached(); }

absl::StatusOr<bool> LogSource::Gather(const GroupSizer& sizer) {
  size_t bytes = 0;
  for (const PiecePtr& piece : pending_) bytes += piece->bytes;
  while (sizer.HasRoom(pending_.size(), bytes)) {
    ASSIGN_OR_RETURN(const Piece* next,
                     reader_.Peek(pending_.empty() ? kLogIdleWait : absl::ZeroDuration()));
    if (pending_.empty()) tally_->Oldest(next == nullptr ? 0 : next->header.stamp.time_us);
    if (next == nullptr) {
      if (pending_.empty()) control_->Set(Health::Level::kOk, ApplierState::kApplying);
      break;
    }
    // A large transaction is applied by itself, piece by piece.
    if (!next->last && !pending_.empty()) break;
    ASSIGN_OR_RETURN(const bool ready, Ready(*next));
    if (!ready) break;
    HoldToPromise(next->header);
    bytes += next->bytes;
    pending_.push_back(std::make_shared<const Piece>(reader_.Pop()));
    if (!pending_.back()->last) break;
  }
  return !pending_.empty();
}

absl::StatusOr<PiecePtr> LogSource::Next(absl::Duration timeout) {
  ASSIGN_OR_RETURN(const Piece* next, reader_.Peek(timeout));
  if (next == nullptr) return PiecePtr();
  PiecePtr piece = std::make_shared<const Piece>(reader_.Pop());
  if (pending_.empty()) pending_.push_back(piece);
  return piece;
}

Readiness LogSource::LookAt(const Piece& piece, std::optional<OriginLsn>* missing) const {
  ReadinessInput input{.complete = piece.last || parts_->stores.log->CompleteThrough(origin_) >=
                                                     piece.header.end_lsn,
                       .made_under = piece.header.settings_version,
                       .active_settings = parts_->settings->active(),
                       .known_settings = parts_->settings->taken()};
  if (!BDR_RULE_BROKEN("causal_order")) {
    input.missing = parts_->positions.progress->FirstMissing(piece.header.waits_for);
  }
  *missing = input.missing;
  return Look(input);
}

// Whether a transaction may be applied now; if not, and nothing is pending, waits a moment and says
// for what.
absl::StatusOr<bool> LogSource::Ready(const Piece& piece) {
  std::optional<OriginLsn> missing;
  const Readiness readiness = LookAt(piece, &missing);
  if (readiness != Readiness::kWaitForRest) {
    tally_->HeldBy(missing.has_value() ? missing->origin : OriginId{});
  }
  switch (readiness) {
    case Readiness::kWaitForRest:
      control_->Set(Health::Level::kOk, ApplierState::kWaiting,
                    "for the rest of a large transaction");
      control_->WaitABit(absl::Milliseconds(20));
      return false;
    case Readiness::kWaitForOrigin:
      if (pending_.empty()) WaitForOrigin(piece, *missing);
      return false;
    case Readiness::kUnknownSettings:
      if (pending_.empty()) TellOfUnknownSettings(piece.header);
      return false;
    case Readiness::kRaiseSettings:
      RETURN_IF_ERROR(RaiseSettings(piece.header.settings_version));
      break;
    case Readiness::kReady:
      break;
  }
  return PassesClock(piece);
}

void LogSource::WaitForOrigin(const Piece& piece, const OriginLsn& missing) {
  Progress& progress = *parts_->positions.progress;
  progress.WaitCommitted(missing, absl::Milliseconds(20));
  if (!progress.FirstMissing(piece.header.waits_for).has_value()) return;
  control_->Set(Health::Level::kOk, ApplierState::kWaiting,
                absl::StrCat("for origin ", ToString(missing.origin), " to be applied up to ",
                             ToString(missing.lsn), " (causal order)"));
}

// What a transaction is merged by must be known. bdr-server lets nobody go by a setting before all
// members have it, so that only a node which lost its data can be behind.
void LogSource::TellOfUnknownSettings(const TransactionHeader& header) {
  control_->Set(
      Health::Level::kCritical, ApplierState::kHeld,
      absl::StrCat("a transaction of origin ", ToString(origin_), " at ", ToString(header.end_lsn),
                   " was made under version ", header.settings_version,
                   " of the cluster's settings, and only ", parts_->settings->taken(),
                   " is known here; let this agent reach bdr-server"));
  control_->WaitABit(absl::Milliseconds(100));
}

absl::Status LogSource::RaiseSettings(uint64_t version) {
  return parts_->settings->RaiseActive(version, [this, version] {
    return State(parts_->stores.database)
        .Put(kStateSettingsActive, EncodeU64(version), /*sync=*/true);
  });
}

bool LogSource::PassesClock(const Piece& piece) {
  if (BDR_RULE_BROKEN("clock_wait")) return true;
  const ClockGate::Verdict verdict =
      parts_->clocks.gate->Look(piece.header.stamp.time_us, origin_name_);
  if (!verdict.go) {
    if (!pending_.empty()) return false;
    tally_->HeldFor(verdict.held_us);
    control_->Set(verdict.level, StateOf(verdict.state), verdict.reason);
    control_->WaitABit(verdict.wait);
    return false;
  }
  tally_->HeldFor(0);
  return true;
}

// An origin whose stamps fall below its own promises was set back, or lost what it had written
// down. Versions are compared all the same, and end alike on all nodes; but what was forgotten
// because of that promise is gone, so a person must know.
void LogSource::HoldToPromise(const TransactionHeader& header) {
  if (header.stamp.time_us > parts_->positions.progress->PromisedBefore(origin_, header.end_lsn)) {
    return;
  }
  if (!broken_promises_.Failed("", SteadyNow())) return;
  LogError("apply", {{"origin", ToString(origin_)}, {"lsn", ToString(header.end_lsn)}},
           broken_promises_.LineText(
               "the origin broke its promise: a transaction is stamped earlier than it had said "
               "that any could be; run \"bdrctl verify\", and find out what set that node back"));
}

}  // namespace bdr::agent
