#include "node-agent/apply/drive/whole_group.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "base/test_hooks.h"
#include "node-agent/apply/write/gone_log.h"

namespace bdr::agent {

// How many of what is wanted may be one group: rows of tables without a key must not share one with
// a TRUNCATE that may fall between their stamps.
absl::StatusOr<size_t> WholeGroup::Size() const {
  const std::deque<PiecePtr>& pending = tools_.source->pending();
  const size_t most = std::min(wanted_, pending.size());
  if (tools_.own()) return most;  // nothing of tables without a key is merged again
  const int64_t no_truncate_before_us =
      tools_.parts->positions.progress->NoTruncateBefore(tools_.origin);
  // The last is the newest.
  if (pending[most - 1]->header.stamp.time_us <= no_truncate_before_us) return most;
  std::vector<GroupMember> members;
  for (size_t i = 0; i < most; ++i) {
    ASSIGN_OR_RETURN(const bool keyless, tools_.tables->HasKeylessRows(*pending[i]));
    members.push_back({.stamp_us = pending[i]->header.stamp.time_us, .keyless = keyless});
  }
  return GroupSize(members, no_truncate_before_us);
}

// The plan is made by the settings of one moment. If they change before the keys are ours, another
// applier may have folded a row that this plan would write by the last update: it comes again.
absl::Status WholeGroup::Prepare() {
  ASSIGN_OR_RETURN(pieces_, Size());
  RETURN_IF_ERROR(tools_.RefreshSettings());
  const uint64_t generation = tools_.parts->settings->generation();
  options_ = tools_.MakeExecutorOptions();
  for (size_t i = 0; i < pieces_; ++i) {
    RETURN_IF_ERROR(plan_.Add(tools_.source->pending()[i], tools_.tables->Resolver()));
  }
  RETURN_IF_ERROR(ReadClaims());
  MoveTo(GroupPhase::kPlanned);
  RETURN_IF_ERROR(Register());
  if (tools_.parts->settings->generation() != generation) {
    return absl::AbortedError("the cluster's settings have changed");
  }
  if (tools_.own()) BDR_FAIL_POINT("own_merge_before");
  if (!tools_.own()) {
    RETURN_IF_ERROR(
        tools_.foreign_keys->Refresh(tools_.tables->settings_generation(), tools_.pipe()));
  }
  tools_.control->activity().Set("records row versions");
  if (!tools_.own()) {
    BDR_HANG_POINT("apply_versions");
    BDR_FAIL_POINT("apply_before_versions");
  }
  RETURN_IF_ERROR(RecordVersions());
  if (!tools_.own()) BDR_FAIL_POINT("apply_after_versions");
  // Local commits from here on meet the keys in flight.
  options_.largest_raise_us = tools_.LargestRaise();
  return absl::OkStatus();
}

absl::Status WholeGroup::ReadClaims() {
  tools_.control->activity().Set("asks PostgreSQL which unique values the rows claim");
  if (!tools_.own()) BDR_HANG_POINT("apply_claims");
  return claims_.Read(plan_, tools_.claim_reader);
}

// The group's rows and the unique values that they claim: whoever writes the one or takes the other
// has to wait.
absl::Status WholeGroup::Register() {
  std::vector<std::string> keys = plan_.Keys();
  const std::vector<std::string> values = claims_.InFlightKeys();
  keys.insert(keys.end(), values.begin(), values.end());
  keys.insert(keys.end(), further_.begin(), further_.end());
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  registered_.clear();
  registered_.insert(keys.begin(), keys.end());
  RETURN_IF_ERROR(tools_.waits->ForKeys({.keys = std::move(keys),
                                         .tables = plan_.KeylessTables(),
                                         .all = plan_.has_truncate(),
                                         .stamps = plan_.stamps()},
                                        &registration_));
  MoveTo(GroupPhase::kRegistered);
  return absl::OkStatus();
}

absl::Status WholeGroup::RecordVersions() {
  RETURN_IF_ERROR(tools_.versions->Record(plan_, claims_, &tools_.before, {}));
  MoveTo(GroupPhase::kRecorded);
  return absl::OkStatus();
}

// Looks at who claims the same values, writes the rows, and if nothing is lacking, what goes with
// them: foreign keys that the group orphans, values that are gone here, and last, since all tables
// are locked by then, whether they still have the shapes that were planned for.
absl::Status WholeGroup::Write(Needs* needs) {
  RETURN_IF_ERROR(claims_.LookUp(*tools_.parts->stores.claims, tools_.claim_reader));
  executor_.emplace(options_, tools_.pipe(), tools_.versions, tools_.parts->stores.versions,
                    &found_before_, tools_.values);
  executor_->SetClaims(&claims_, plan_.has_truncate() ? nullptr : &registered_);
  tools_.values->BeginAttempt();
  RETURN_IF_ERROR(tools_.values->Prepare(plan_, tools_.before));
  tools_.control->activity().Set("writes rows");
  if (!tools_.own()) BDR_HANG_POINT("apply_writes");
  RETURN_IF_ERROR(tools_.session->Begin(newest_us()));
  if (!tools_.own()) RETURN_IF_ERROR(tools_.foreign_keys->Before(plan_, tools_.pipe()));
  RETURN_IF_ERROR(executor_->Run(plan_, tools_.before));
  *needs = {.capture = executor_->must_wait(),
            .keys = executor_->must_register(),
            .values = tools_.values->wants()};
  conflicts_ = executor_->conflicts();
  return needs->empty() ? Finish() : absl::OkStatus();
}

absl::Status WholeGroup::Finish() {
  RETURN_IF_ERROR(tools_.CheckForeignKeys(plan_, /*letter=*/false));
  if (!tools_.own()) {
    RETURN_IF_ERROR(QueueGone(plan_, tools_.origin, tools_.pipe(), &conflicts_));
  }
  RETURN_IF_ERROR(QueueShapeCheck(plan_, tools_.pipe()));
  MoveTo(GroupPhase::kWritten);
  return absl::OkStatus();
}

absl::Status WholeGroup::Commit() {
  RETURN_IF_ERROR(tools_.RecordDead(*executor_));
  if (!tools_.own()) BDR_FAIL_POINT("apply_after_statements");
  tools_.AnnounceRefused(executor_->refused());
  MoveTo(GroupPhase::kCommitting);
  const TransactionHeader& last = plan_.last();
  RETURN_IF_ERROR(tools_.session->Commit(
      {.end_lsn = last.end_lsn, .stamp_us = last.stamp.time_us, .moves_progress = !tools_.own()},
      &registration_));
  MoveTo(GroupPhase::kCommitted);
  tools_.Committed(!tools_.own());
  tools_.tally->Applied(plan_.transactions(), plan_.changes(), conflicts_);
  tools_.NoteRefused(executor_->refused());
  tools_.NoteOrphans(tools_.foreign_keys->orphans(), tools_.foreign_keys->queued());
  tools_.source->Done(pieces_);
  tools_.control->Set(Health::Level::kOk, ApplierState::kApplying);
  return absl::OkStatus();
}

// Keys first, then values: others may be about to write these rows, or may need the keys while
// another node takes its time, so the group gives up its own meanwhile. Capture last, as what it
// has passed counts from when all is registered.
absl::Status WholeGroup::Meet(const Needs& needs) {
  if (!needs.keys.empty() || needs.values) {
    further_.insert(further_.end(), needs.keys.begin(), needs.keys.end());
    registration_.Release();
    MoveTo(GroupPhase::kPlanned);
    if (needs.values) {
      RETURN_IF_ERROR(tools_.waits->ForValues(/*may_be_split=*/pieces_ > 1));
      // What came may be a unique value.
      RETURN_IF_ERROR(tools_.values->Prepare(plan_, tools_.before));
      RETURN_IF_ERROR(claims_.Read(plan_, tools_.claim_reader));
    }
    RETURN_IF_ERROR(Register());
  }
  if (!needs.capture.empty()) {
    RETURN_IF_ERROR(tools_.WaitForCapture(needs.capture, &options_, &found_before_));
  }
  return RecordVersions();
}

absl::Status WholeGroup::Recover(const absl::Status& failed) {
  if (postgres::Sqlstate(failed) != kClockBehind) return failed;
  tools_.waits->ForServerClock(newest_us());
  return RecordVersions();
}

}  // namespace bdr::agent
