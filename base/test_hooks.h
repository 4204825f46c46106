// Breaks rules and ends the process on purpose, so that tests can show that they would notice.
//
// Only builds with the CMake option BDR_TEST_HOOKS have this; elsewhere the macros are constants,
// cost nothing, and leave no string in the binary. Where it is built in, nothing happens before
// the environment asks for it:
//   BDR_BREAK=rule,rule            these rules do not hold in this process
//   BDR_STRESS=habit,habit         does all the time what is done now and then
//   BDR_FAIL_POINT=step[:n],...    kill -9 of this process when it passes a step the nth time
//   BDR_HANG_POINT=step:FILE,...   hangs where it passes a step, for as long as there is that file
// Names stand in the lists below. A name that is not there does not compile, and in the environment
// it is an error.
#pragma once

#include <array>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#ifdef BDR_TEST_HOOKS

namespace bdr::test_hooks {

// docs/chaos.md tells for each rule what breaking it does, and what finds it.
inline constexpr std::array<absl::string_view, 15> kRules = {
    "clock_wait",           // apply a transaction before this server's clock has passed its stamp
    "own_merge",            // own deletes and raised stamps are not merged again
    "own_merge_restart",    // ... those that a crash interrupted are forgotten
    "tombstones",           // dead versions are not kept
    "null_time",            // a row whose commit time is gone counts as old
    "xid_is_no_version",    // what the row's xid says of its time is taken for its version
    "sync_before_confirm",  // the slot is confirmed before the change log is synced
    "sync_before_ship",     // own blocks are visible to peers before they are synced
    "promise_durable",      // promises are not written ahead
    "keys_in_flight",       // two appliers may write one key at the same time
    "stable_is_durable",    // what a peer has received counts as durable there
    "old_key",              // a key change does not delete the old key
    "own_xid",              // rows written by this very transaction are not told from others
    "causal_order",         // a transaction is applied before what its origin had seen
    "chunk_once",           // granted numbers go into two registers, for two sets of ordinals
};

inline constexpr std::array<absl::string_view, 4> kHabits = {
    "forget",         // what is stable is compacted away at once
    "small_cap",      // log_retention_bytes is 2 MiB
    "few_relations",  // a session of capture ends once it knows more than three tables
    "small_chunks",   // chunks of numbers are as small as they can be, so that there are many
};

inline constexpr std::array<absl::string_view, 24> kFailPoints = {
    "apply_before_versions",   // a group's keys are registered, nothing is written
    "apply_after_versions",    // its versions are in the store, nothing is in PostgreSQL
    "apply_after_statements",  // its rows are written, not committed
    "apply_before_commit",     // its progress is written as well
    "apply_after_commit",      // it is committed, and nobody has noted it
    "own_merge_before",        // own changes were taken to be merged again
    "own_merge_after",         // ... and were, before anybody noted it
    "capture_before_sync",     // blocks are built, not in the change log
    "capture_after_sync",      // they are in the change log, not visible, not confirmed
    "capture_before_confirm",  // visible, and the slot is about to be confirmed
    "capture_after_confirm",   // the slot was told
    "capture_before_skip",     // a transaction that cannot be decoded is about to be skipped
    "capture_after_skip",      // that is written down, and the slot was not told
    "receive_after_write",     // a peer's block is in the change log, unsynced
    "chunk_granted",           // numbers were granted, and nobody has written that down
    "chunk_in_register",       // their register is set, and nobody goes by it yet
    "turn_given",              // a turn was given, and nobody has written that down
    "turn_written",            // its row says so, and bdr-server does not know
    "turn_confirmed",          // bdr-server knows, and no session
    "turn_closing",            // nobody draws any more, and the turn has not ended
    "turn_ended",              // it has ended, and bdr-server does not know
    "conversion_capped",       // bdrctl: no node gives out numbers beyond the limit by itself
    "conversion_numbered",     // bdrctl: bdr-server knows of the conversion
    "conversion_first_node",   // bdrctl: one node is converted
};

inline constexpr std::array<absl::string_view, 8> kHangPoints = {
    "apply_gather",    // looking for what may be applied
    "apply_claims",    // reading which unique values rows claim
    "apply_keys",      // waiting for keys that other groups write
    "apply_versions",  // before versions are recorded
    "apply_capture",   // waiting for capture
    "apply_values",    // fetching large values
    "apply_writes",    // before rows are written
    "apply_commit",    // before a group's commit
};

template <size_t N>
consteval size_t Place(const std::array<absl::string_view, N>& names, absl::string_view name) {
  for (size_t i = 0; i < N; ++i) {
    if (names[i] == name) return i;
  }
  throw "no such name in the list";  // does not compile
}

bool RuleBroken(size_t rule);
bool HasHabit(size_t habit);
void PassFailPoint(size_t point);
void PassHangPoint(size_t point);

}  // namespace bdr::test_hooks

#define BDR_RULE_BROKEN(name) \
  (::bdr::test_hooks::RuleBroken(::bdr::test_hooks::Place(::bdr::test_hooks::kRules, name)))
#define BDR_HAS_HABIT(name) \
  (::bdr::test_hooks::HasHabit(::bdr::test_hooks::Place(::bdr::test_hooks::kHabits, name)))
#define BDR_FAIL_POINT(name) \
  ::bdr::test_hooks::PassFailPoint(::bdr::test_hooks::Place(::bdr::test_hooks::kFailPoints, name))

#define BDR_HANG_POINT(name) \
  ::bdr::test_hooks::PassHangPoint(::bdr::test_hooks::Place(::bdr::test_hooks::kHangPoints, name))

#else

#define BDR_HANG_POINT(name) static_cast<void>(0)
#define BDR_RULE_BROKEN(name) false
#define BDR_HAS_HABIT(name) false
#define BDR_FAIL_POINT(name) static_cast<void>(0)

#endif

namespace bdr {

// What the environment asks for, before any other thread runs. Says so in the log, as a warning.
// kInvalidArgument for a name that is not in the lists, with the names that are. Without
// BDR_TEST_HOOKS nothing is read.
absl::Status EnableTestHooks();

}  // namespace bdr
