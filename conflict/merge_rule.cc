#include "conflict/merge_rule.h"

namespace bdr::conflict {
namespace {

ConflictKind AgainstRow(ChangeKind kind) {
  switch (kind) {
    case ChangeKind::kInsert:
      return ConflictKind::kInsertExists;
    case ChangeKind::kUpdate:
      return ConflictKind::kUpdateOriginDiffers;
    case ChangeKind::kDelete:
      return ConflictKind::kDeleteOriginDiffers;
  }
  return ConflictKind::kNone;
}

ConflictKind AgainstTombstone(ChangeKind kind) {
  switch (kind) {
    case ChangeKind::kInsert:
      return ConflictKind::kInsertDeleted;
    case ChangeKind::kUpdate:
      return ConflictKind::kUpdateDeleted;
    case ChangeKind::kDelete:
      return ConflictKind::kDeleteMissing;
  }
  return ConflictKind::kNone;
}

ConflictKind AgainstNothing(ChangeKind kind) {
  switch (kind) {
    case ChangeKind::kInsert:
      return ConflictKind::kNone;
    case ChangeKind::kUpdate:
      return ConflictKind::kUpdateMissing;
    case ChangeKind::kDelete:
      return ConflictKind::kDeleteMissing;
  }
  return ConflictKind::kNone;
}

}  // namespace

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
  }
  return "none";
}

Decision Decide(ChangeKind kind, Stamp incoming, const KeyState& found) {
  const bool is_delete = kind == ChangeKind::kDelete;
  if (found.row.has_value()) {
    // A row that stands is newer than every tombstone of its key, or it would not stand.
    if (*found.row > incoming) return {Action::kDrop, AgainstRow(kind)};
    return {is_delete ? Action::kDelete : Action::kWrite, AgainstRow(kind)};
  }
  if (found.dead > incoming) return {Action::kDrop, AgainstTombstone(kind)};
  const ConflictKind conflict =
      found.dead == kNever ? AgainstNothing(kind) : AgainstTombstone(kind);
  return {is_delete ? Action::kBury : Action::kWrite, conflict};
}

}  // namespace bdr::conflict
