// The rules that the model can break on purpose: a checker that finds nothing planted proves
// nothing.
#pragma once

#include <optional>
#include <string_view>

namespace bdr::model {

enum class Rule {
  kNone,
  kTombstones,            // deletes leave no version
  kTombstonesEarly,       // tombstones are dropped before they are stable
  kForgetUnmerged,        // stable passes own changes that are still to be merged again
  kStampOrder,            // a stamp is the commit time, not above what was seen
  kClockWait,             // changes from the future of the server's clock are applied
  kOldKey,                // the old key of a key change is ignored
  kClaims,                // earlier claims of a unique value are not asked about
  kLoserStamp,            // what is unseated is buried at the winner's stamp
  kRemergeDeletes,        // own deletes that appliers touched are not merged again
  kRemergeRaised,         // nor own rows whose stamps were raised
  kRemergeClaims,         // nor own claims
  kRemergeTruncates,      // nor own truncates
  kRemergeLostAtRestart,  // what waited to be merged again is forgotten in a crash
  kRemergeUnflushed,      // merging again counts as done before the server has flushed it
  kRemergeUndone,         // a delete is merged again though its transaction made the row anew
  kNullTimeOld,           // a row whose commit time is lost passes as old
  kNoBarrier,             // what capture has not seen yet is taken as old
  kNoOwnXid,              // rows written by the same transaction are not recognised
  kNoKeysInFlight,        // two appliers may decide about one row at a time
  kNoDependencies,        // transactions are applied as they come
  kStableWhenReceived,    // positions count as durable once received
  kPromiseNotDurable,     // the ceiling of promises is not written down
  kConfirmBeforeSync,     // the slot is confirmed before the log is synced
  kShipBeforeSync,        // peers get blocks that are not synced
};

struct RuleInfo {
  Rule rule;
  std::string_view name;  // as --break takes it
};

inline constexpr RuleInfo kRules[] = {
    {Rule::kTombstones, "tombstones"},
    {Rule::kTombstonesEarly, "tombstones_early"},
    {Rule::kForgetUnmerged, "forget_unmerged"},
    {Rule::kStampOrder, "stamp_order"},
    {Rule::kClockWait, "clock_wait"},
    {Rule::kOldKey, "old_key"},
    {Rule::kClaims, "claims"},
    {Rule::kLoserStamp, "loser_stamp"},
    {Rule::kRemergeDeletes, "remerge_deletes"},
    {Rule::kRemergeRaised, "remerge_raised"},
    {Rule::kRemergeClaims, "remerge_claims"},
    {Rule::kRemergeTruncates, "remerge_truncates"},
    {Rule::kRemergeLostAtRestart, "remerge_lost_at_restart"},
    {Rule::kRemergeUnflushed, "remerge_unflushed"},
    {Rule::kRemergeUndone, "remerge_undone"},
    {Rule::kNullTimeOld, "null_time_old"},
    {Rule::kNoBarrier, "no_barrier"},
    {Rule::kNoOwnXid, "no_own_xid"},
    {Rule::kNoKeysInFlight, "no_keys_in_flight"},
    {Rule::kNoDependencies, "no_dependencies"},
    {Rule::kStableWhenReceived, "stable_when_received"},
    {Rule::kPromiseNotDurable, "promise_not_durable"},
    {Rule::kConfirmBeforeSync, "confirm_before_sync"},
    {Rule::kShipBeforeSync, "ship_before_sync"},
};

inline std::optional<Rule> FindRule(std::string_view name) {
  for (const RuleInfo& info : kRules) {
    if (info.name == name) return info.rule;
  }
  return std::nullopt;
}

}  // namespace bdr::model
