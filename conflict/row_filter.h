// The filter in front of the rule: whether a change may overwrite the row that stands at its key
// without asking the version store, by PostgreSQL's own commit time of that row.
//
// It stands here twice: as a condition of the statements that write (node-agent/tables), and as a
// function for the model (tests/model), so that what the model finds holds for the agent.
// node-agent/tables/row_filter_test.cc gives a real server and the function the same rows.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "conflict/row_rule.h"
#include "conflict/stamp.h"

namespace bdr::conflict {

// Written by this transaction; or surely older, and seen by the change's origin (`seen_us`: up to
// when that had seen the row's writer, INT64_MIN if who wrote it is not known), which only finds
// conflicts to log; or long since stable.
bool PassesFilter(const FoundRow& found, Stamp incoming, int64_t largest_raise_us, int64_t seen_us);

// Expressions of the SQL.
struct FilterTerms {
  absl::string_view older_than;  // timestamptz: the change's stamp, less the largest raise
  // timestamptz[] by replication origin, that of local commits (0) first: `seen_us`; NULL where it
  // is not known.
  absl::string_view seen;
  absl::string_view long_stable;  // of a row t without a commit time: as kLongStable
};

// A condition over the row t.
std::string SqlFilter(const FilterTerms& terms);

}  // namespace bdr::conflict
