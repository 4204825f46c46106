// What decided about a row, as bdr.conflict_log names it (docs/architecture.md, "Conflicts").
#pragma once

namespace bdr::agent {

inline constexpr char kNewerKnown[] = "newer_version_known";
inline constexpr char kNewerCaptured[] = "newer_version_captured_meanwhile";
inline constexpr char kOlderKnown[] = "older_version_known";
inline constexpr char kOlderByTime[] = "older_by_commit_time";
inline constexpr char kUnknownIsOlder[] = "unknown_version_is_stable";
inline constexpr char kNothingStands[] = "nothing_stands_there";
inline constexpr char kNobodyHasValues[] = "nobody_has_the_values";
inline constexpr char kClaimedLater[] = "value_claimed_later";
inline constexpr char kFolded[] = "folded_by_policy";

}  // namespace bdr::agent
