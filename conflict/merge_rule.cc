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
