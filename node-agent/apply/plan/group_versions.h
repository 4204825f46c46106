// What the version store knows of an origin's rows beside what its applier has written there ahead
// of the table.
//
// The versions of a group are in the store before anything of it is sent, and stay there when it
// falls apart: after a deadlock or a refused row it comes again in smaller groups, after a crash in
// whatever groups come then. So the newest version of a key may be one of a later transaction that
// is not applied yet. It tells nothing of what stands in the table, and must not beat an earlier
// change of its own origin; and it hides the version that stood in the store before. Of those the
// ones that the group had not seen are kept beside it, under "before/" in the family `state`, until
// it is applied: they decide what is a conflict, and whose large values stand in the row.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/lsn.h"
#include "base/origin.h"
#include "conflict/claim_store.h"
#include "conflict/history_store.h"
#include "conflict/version_store.h"
#include "node-agent/apply/plan/group_claims.h"
#include "node-agent/apply/plan/group_plan.h"
#include "node-agent/apply/plan/work_kind.h"
#include "node-agent/changelog/stores.h"

namespace bdr::agent {

// Of one applier. Not thread-safe.
class GroupVersions {
 public:
  using Versions = absl::flat_hash_map<std::string, conflict::Version>;

  // What the stores point to outlives it. Of own changes capture has written the versions: they are
  // only looked up.
  GroupVersions(const Stores& stores, OriginId origin, WorkKind kind)
      : stores_(stores), origin_(origin), captured_here_(kind == WorkKind::kOwn) {}

  // A new session: the origin is applied up to here.
  absl::Status Begin(Lsn applied);
  // By a commit; `durable` (never beyond `applied`) is what no crash takes back.
  void Applied(Lsn applied, Lsn durable);

  // The newest versions of the keys, in the order given, but for those of transactions of this
  // origin that end beyond `through` and are not applied: in their place is what they hide, as far
  // as it is kept.
  absl::StatusOr<std::vector<std::optional<conflict::Version>>> Get(
      absl::Span<const std::string> keys, Lsn through) const;

  struct Recording {
    bool ends_here = true;     // the plan ends a transaction
    bool with_history = true;  // of tables that fold: what is put aside has no part in a row
    Lsn letter = {};  // this transaction was put aside, and its versions recorded, when it came
  };
  // Writes the group's versions and claims, before anything is sent, and adds to `before` what
  // stood there: for a table without a key its newest TRUNCATE, under the table's version key. On a
  // repeated call what has become newer meanwhile.
  absl::Status Record(GroupPlan& plan, const GroupClaims& claims, Versions* before,
                      const Recording& recording);

 private:
  std::string NameOfHidden(Lsn end_lsn, absl::string_view version_key) const;
  void RecordHistory(const GroupPlan& plan, const Segment& segment,
                     rocksdb::WriteBatch* batch) const;

  const Stores stores_;
  const OriginId origin_;
  const bool captured_here_;
  Lsn applied_;
  // Something may be kept beside transactions that end at or before; what is at or before
  // `sweep_through_` goes once it is durable.
  Lsn hidden_through_;
  Lsn sweep_through_;
  Lsn swept_through_;  // nothing is left at or before it, in this session
};

}  // namespace bdr::agent
