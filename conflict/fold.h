// Policies that fold: a row is the fold, in stamp order, of its unstable changes over its stable
// base, and not just its newest version.
//
// Pure: no clock, no database. Every node folds the same changes in the same order with the same
// published facts (stamps, and what each change had seen), so every node gets the same row,
// whatever order the changes came in; a step need be neither commutative nor associative. A change
// that comes late makes its row fold again. (docs/policies.md; FoldNode of the model.)
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/lsn.h"
#include "base/origin.h"
#include "conflict/number_delta.h"
#include "conflict/row_rule.h"
#include "conflict/seen.h"
#include "conflict/stamp.h"

namespace bdr::conflict {

// A column's value in PostgreSQL's binary form.
struct FoldValue {
  enum class Kind : uint8_t {
    kNull,
    kValue,
    kUnchanged,  // it did not come along, the row keeps what it has
    kUnknown,    // nothing is said of the column: it was not there (yet) where the row comes from
  };
  Kind kind = Kind::kNull;
  std::string data = {};

  friend bool operator==(const FoldValue&, const FoldValue&) = default;
};
using FoldRow = std::vector<FoldValue>;  // by column

enum class PolicyKind {
  kLastUpdateWins,   // the later change
  kFirstUpdateWins,  // a change that had not seen the state it meets is left out
  kOriginPriority,   // such a change counts only if its node ranks no lower than the state's
  kColumnMerge,      // per column the latest write; written is what the change itself changed
  kDelta,            // named numeric columns: what the change added; the others by the last update
  kCustom,           // such a change goes through a function of the user
};
absl::string_view ToString(PolicyKind kind);
std::optional<PolicyKind> ParsePolicyKind(absl::string_view name);

struct DeltaColumn {
  size_t column = 0;
  NumberType type = NumberType::kInt8;
  int32_t type_modifier = -1;  // as PostgreSQL's atttypmod
};

struct FoldPolicy {
  PolicyKind kind = PolicyKind::kLastUpdateWins;
  std::vector<NodeId> priority = {};  // the highest first; nodes not named rank below, all alike
  std::vector<DeltaColumn> delta = {};
};

// One change of one row, as it was published: the same on every node.
struct FoldChange {
  ChangeKind kind = ChangeKind::kInsert;
  Stamp stamp = {};
  uint32_t number = 0;  // its place within its transaction: equal stamps are in this order
  uint64_t settings_version = 0;  // of the cluster's settings: which policy its origin went by
  OriginId origin = {};
  Lsn end_lsn = {};
  std::optional<FoldRow> old_row = {};  // as it stood at the origin; unset if it did not come along
  std::optional<FoldRow> new_row = {};  // unset of a delete
  std::vector<SeenTime> seen = {};      // by other nodes' ids; whoever is not named was not seen
};

// By stamp, then by place within the transaction.
bool operator<(const FoldChange& a, const FoldChange& b);

// Whether the origin had surely seen what was stamped so when it made the change. Its own earlier
// changes it had; kNever, the stamp of what is settled for everybody, everybody had.
bool Saw(const FoldChange& change, Stamp stamp);

// A row, and the change that set it.
struct FoldState {
  std::optional<FoldRow> row = {};  // unset: there is none
  Stamp stamp = kNever;             // kNever: older than anything that somebody had not seen
  OriginId origin = {};
  Lsn end_lsn = {};

  friend bool operator==(const FoldState&, const FoldState&) = default;
};

// The user's function: called only where the change had not seen the state that it meets. Must be a
// function of its arguments alone. An error ends the fold and comes back from it.
using CustomHandler = std::function<absl::StatusOr<FoldRow>(
    const FoldState& older, const FoldChange& change, const FoldRow& newer)>;

// What `change` makes of `state`, whose stamp is older. A delete leaves nothing; an insert, and
// whatever meets nothing, leaves its own row. Without an old row the policies that need it take the
// whole new row. kInvalidArgument for kCustom without a handler.
absl::StatusOr<FoldState> FoldStep(const FoldPolicy& policy, FoldState state,
                                   const FoldChange& change, const CustomHandler* custom);

// One change after the other, which must be sorted. `policy_of` gives each change's: the one that
// was in force at its origin.
using PolicyOf = std::function<const FoldPolicy&(const FoldChange&)>;
absl::StatusOr<FoldState> Fold(const PolicyOf& policy_of, FoldState base,
                               absl::Span<const FoldChange> changes, const CustomHandler* custom);

}  // namespace bdr::conflict
