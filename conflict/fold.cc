#include "conflict/fold.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "base/status_macros.h"

namespace bdr::conflict {
namespace {

constexpr std::pair<PolicyKind, absl::string_view> kNames[] = {
    {PolicyKind::kLastUpdateWins, "last_update_wins"},
    {PolicyKind::kFirstUpdateWins, "first_update_wins"},
    {PolicyKind::kOriginPriority, "origin_priority"},
    {PolicyKind::kColumnMerge, "column_merge"},
    {PolicyKind::kDelta, "delta"},
    {PolicyKind::kCustom, "custom"},
};

FoldState SetBy(const FoldChange& change, std::optional<FoldRow> row) {
  return {.row = std::move(row),
          .stamp = change.stamp,
          .origin = change.origin,
          .end_lsn = change.end_lsn};
}

// The row that the change left at its origin, as far as it came along; the rest from the state.
FoldRow Whole(const FoldChange& change, const std::optional<FoldRow>& state) {
  FoldRow row = change.new_row.value_or(FoldRow());
  for (size_t i = 0; i < row.size(); ++i) {
    const bool came =
        row[i].kind == FoldValue::Kind::kNull || row[i].kind == FoldValue::Kind::kValue;
    if (came) continue;
    if (state.has_value() && i < state->size()) row[i] = (*state)[i];
  }
  return row;
}

size_t Rank(const FoldPolicy& policy, NodeId node) {
  return static_cast<size_t>(std::find(policy.priority.begin(), policy.priority.end(), node) -
                             policy.priority.begin());
}

FoldRow MergeColumns(const FoldRow& state, const FoldRow& old_row, FoldRow newer) {
  for (size_t i = 0; i < newer.size() && i < state.size() && i < old_row.size(); ++i) {
    if (newer[i] == old_row[i]) newer[i] = state[i];
  }
  return newer;
}

FoldRow AddDeltas(const FoldPolicy& policy, const FoldRow& state, const FoldRow& old_row,
                  FoldRow newer) {
  const auto has = [](const FoldRow& row, size_t column) {
    return column < row.size() && row[column].kind == FoldValue::Kind::kValue;
  };
  for (const DeltaColumn& delta : policy.delta) {
    const size_t i = delta.column;
    // Nothing can be added to or from a null: the last update counts, as for other columns.
    if (!has(state, i) || !has(old_row, i) || !has(newer, i)) continue;
    newer[i].data =
        AddDelta(delta.type, delta.type_modifier, state[i].data, old_row[i].data, newer[i].data);
  }
  return newer;
}

}  // namespace

absl::string_view ToString(PolicyKind kind) {
  for (const auto& [known, name] : kNames) {
    if (known == kind) return name;
  }
  return "unknown";
}

std::optional<PolicyKind> ParsePolicyKind(absl::string_view name) {
  for (const auto& [kind, known] : kNames) {
    if (known == name) return kind;
  }
  return std::nullopt;
}

bool operator<(const FoldChange& a, const FoldChange& b) {
  return std::tie(a.stamp, a.number) < std::tie(b.stamp, b.number);
}

bool Saw(const FoldChange& change, Stamp stamp) {
  if (stamp == kNever) return true;
  if (stamp.node == change.stamp.node) return stamp <= change.stamp;
  return Seen{.origin = change.stamp.node, .others = change.seen}.Has(stamp);
}

absl::StatusOr<FoldState> FoldStep(const FoldPolicy& policy, FoldState state,
                                   const FoldChange& change, const CustomHandler* custom) {
  if (change.kind == ChangeKind::kDelete) return SetBy(change, std::nullopt);
  FoldRow newer = Whole(change, state.row);
  if (change.kind == ChangeKind::kInsert || !state.row.has_value()) {
    return SetBy(change, std::move(newer));
  }
  switch (policy.kind) {
    case PolicyKind::kLastUpdateWins:
      break;
    case PolicyKind::kFirstUpdateWins:
      if (!Saw(change, state.stamp)) return state;
      break;
    case PolicyKind::kOriginPriority:
      if (!Saw(change, state.stamp) &&
          Rank(policy, change.stamp.node) > Rank(policy, state.stamp.node)) {
        return state;
      }
      break;
    case PolicyKind::kColumnMerge:
      if (change.old_row.has_value()) {
        newer = MergeColumns(*state.row, *change.old_row, std::move(newer));
      }
      break;
    case PolicyKind::kDelta:
      if (change.old_row.has_value()) {
        newer = AddDeltas(policy, *state.row, *change.old_row, std::move(newer));
      }
      break;
    case PolicyKind::kCustom: {
      if (Saw(change, state.stamp)) break;
      if (custom == nullptr) {
        return absl::InvalidArgumentError("a custom policy was folded without its function");
      }
      ASSIGN_OR_RETURN(newer, (*custom)(state, change, newer));
      break;
    }
  }
  return SetBy(change, std::move(newer));
}

absl::StatusOr<FoldState> Fold(const PolicyOf& policy_of, FoldState base,
                               absl::Span<const FoldChange> changes, const CustomHandler* custom) {
  for (const FoldChange& change : changes) {
    ASSIGN_OR_RETURN(base, FoldStep(policy_of(change), std::move(base), change, custom));
  }
  return base;
}

}  // namespace bdr::conflict
