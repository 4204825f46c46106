// A relation as it was when a change was made, under the names that table and columns have here.
//
// Whoever writes or versions a change goes by those names. They are looked up for another node's
// relation by what an administrator has said was done to tables (table_changes.h), and for an own
// one by its OID as well, which no renaming changes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "node-agent/cluster/table_changes.h"
#include "node-agent/tables/table_cache.h"
#include "postgres/pgoutput.h"

namespace bdr::agent {

// Values of a relation that are not written, since an administrator has said that what they belong
// to is gone.
struct GoneValues {
  std::string relation;      // schema.name, as it came
  bool table = false;        // all of them; else those of `columns`
  std::vector<int> columns;  // of the relation as it came
  std::string said;          // which changes of tables say so
};

struct LocalRelation {
  // With the names here; columns that are gone are gone. If the table is gone: as it came.
  postgres::RelationMessage message;
  std::shared_ptr<const GoneValues> gone = nullptr;  // null if nothing is
  AnswerHolds holds = {};
};

// Of another node's relation. What nobody has said anything about keeps its name, and is found
// missing by whoever looks for it. kFailedPrecondition if it cannot be told what is meant.
absl::StatusOr<LocalRelation> FindLocalRelation(const postgres::RelationMessage& relation,
                                                const MadeAt& at,
                                                absl::Span<const TableChange> changes,
                                                TableCache* tables);

// Of an own relation. Its columns that are gone are left out. kNotFound if the table is. With
// `anew` the table's shape is read again.
absl::StatusOr<LocalRelation> FindOwnRelation(const postgres::RelationMessage& relation,
                                              absl::Span<const TableChange> changes, bool anew,
                                              TableCache* tables);

// Whether this node's tables are as `change` says.
absl::StatusOr<bool> IsDoneHere(const TableChange& change, absl::Span<const TableChange> changes,
                                TableCache* tables);

}  // namespace bdr::agent
