#include "conflict/conflict_kind.h"

namespace bdr::conflict {

absl::string_view ToString(ConflictKind kind) {
  switch (kind) {
    case ConflictKind::kNone:
      return "none";
    case ConflictKind::kInsertExists:
      return "insert_exists";
    case ConflictKind::kUpdateOriginDiffers:
      return "update_origin_differs";
    case ConflictKind::kUpdateMissing:
      return "update_missing";
    case ConflictKind::kUpdateDeleted:
      return "update_deleted";
    case ConflictKind::kInsertDeleted:
      return "insert_deleted";
    case ConflictKind::kDeleteOriginDiffers:
      return "delete_origin_differs";
    case ConflictKind::kDeleteMissing:
      return "delete_missing";
    case ConflictKind::kTruncateOriginDiffers:
      return "truncate_origin_differs";
    case ConflictKind::kUniqueClaimed:
      return "unique_claimed";
    case ConflictKind::kLargeValueUnavailable:
      return "large_value_unavailable";
    case ConflictKind::kColumnMissing:
      return "column_missing";
    case ConflictKind::kTableMissing:
      return "table_missing";
    case ConflictKind::kMergeFunctionFailed:
      return "merge_function_failed";
    case ConflictKind::kForeignKeyOrphaned:
      return "foreign_key_orphaned";
  }
  return "none";
}

absl::string_view ToString(Rule rule) {
  switch (rule) {
    case Rule::kNewerKnown:
      return "newer_version_known";
    case Rule::kNewerCaptured:
      return "newer_version_captured_meanwhile";
    case Rule::kOlderKnown:
      return "older_version_known";
    case Rule::kOlderByTime:
      return "older_by_commit_time";
    case Rule::kUnknownIsOlder:
      return "unknown_version_is_stable";
    case Rule::kNothingStands:
      return "nothing_stands_there";
    case Rule::kNobodyHasValues:
      return "nobody_has_the_values";
    case Rule::kClaimedLater:
      return "value_claimed_later";
    case Rule::kFolded:
      return "folded_by_policy";
    case Rule::kOlderThanTruncate:
      return "older_than_truncate";
    case Rule::kForeignKey:
      return "foreign_key";
    case Rule::kNone:
    case Rule::kFunctionRaised:
    case Rule::kSaidToBeGone:
      break;
  }
  return "";
}

bool IsInWords(Rule rule) { return rule == Rule::kFunctionRaised || rule == Rule::kSaidToBeGone; }

absl::string_view ToString(Winner winner) {
  switch (winner) {
    case Winner::kLocal:
      return "local";
    case Winner::kRemote:
      return "remote";
    case Winner::kMerged:
      return "merged";
  }
  return "local";
}

}  // namespace bdr::conflict
