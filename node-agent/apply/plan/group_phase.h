// How far a group of transactions has come on its way into the database.
//
//   gathered     its pieces are there, all ready, within the bounds
//   planned      the net effect on each row, and what values the rows claim, are known
//   registered   its keys in flight are ours: nobody else writes these rows
//   recorded     its versions and claims are in the store, and what stood there before is known
//   written      its rows are written, nothing is needed any more, and what goes with them is
//   queued committing   COMMIT may be under way: its fate is unknown if the session dies committed
//   progress, history and keys in flight have been told
//
//   gathered -> planned -> registered -> recorded -> written -> committing -> committed
//   recorded -> recorded: capture or the clock was waited for
//   registered, recorded -> planned: keys are given up, while something else is waited for
//   written, committing -> registered: rolled back, and to be tried again
//
// Registering comes before the store is read, and recording before anything is sent: so whoever
// decides about the same rows meets this group in one place or the other. What is needed for a
// decision and not there is waited for after a rollback, with nothing locked: values of another
// node and further keys in planned, as keys are given up meanwhile, capture and the clock in
// recorded; then what is known of its keys is read again. What the server refuses at COMMIT, or is
// to be tried again for another reason, has its keys still. Of a group that falls apart, or whose
// tables have changed, the pieces are gathered into another.
#pragma once

namespace bdr::agent {

enum class GroupPhase {
  kGathered,
  kPlanned,
  kRegistered,
  kRecorded,
  kWritten,
  kCommitting,
  kCommitted,
};
inline constexpr GroupPhase kGroupPhases[] = {
    GroupPhase::kGathered, GroupPhase::kPlanned,    GroupPhase::kRegistered, GroupPhase::kRecorded,
    GroupPhase::kWritten,  GroupPhase::kCommitting, GroupPhase::kCommitted};

inline const char* ToString(GroupPhase phase) {
  switch (phase) {
    case GroupPhase::kGathered:
      return "gathered";
    case GroupPhase::kPlanned:
      return "planned";
    case GroupPhase::kRegistered:
      return "registered";
    case GroupPhase::kRecorded:
      return "recorded";
    case GroupPhase::kWritten:
      return "written";
    case GroupPhase::kCommitting:
      return "committing";
    case GroupPhase::kCommitted:
      return "committed";
  }
  return "unknown";
}

// Whether that is one of the moves drawn above.
inline bool MayMove(GroupPhase from, GroupPhase to) {
  switch (from) {
    case GroupPhase::kGathered:
      return to == GroupPhase::kPlanned;
    case GroupPhase::kPlanned:
      return to == GroupPhase::kRegistered;
    case GroupPhase::kRegistered:
      return to == GroupPhase::kRecorded || to == GroupPhase::kPlanned;
    case GroupPhase::kRecorded:
      return to == GroupPhase::kWritten || to == GroupPhase::kRecorded ||
             to == GroupPhase::kPlanned;
    case GroupPhase::kWritten:
      return to == GroupPhase::kCommitting || to == GroupPhase::kRegistered;
    case GroupPhase::kCommitting:
      return to == GroupPhase::kCommitted || to == GroupPhase::kRegistered;
    case GroupPhase::kCommitted:
      return false;
  }
  return false;
}

}  // namespace bdr::agent
