#include "conflict/row_filter.h"

#include "absl/strings/str_cat.h"
#include "base/test_hooks.h"

namespace bdr::conflict {

bool PassesFilter(const FoundRow& found, Stamp incoming, int64_t largest_raise_us,
                  int64_t seen_us) {
  // A row of this transaction has no commit time yet.
  if (found.writer == Writer::kThisTransaction || found.time_us == kLongStable) return true;
  return SurelyOlder(found, incoming, largest_raise_us) && *found.time_us <= seen_us;
}

std::string SqlFilter(const FilterTerms& terms) {
  const absl::string_view own = BDR_RULE_BROKEN("own_xid")
                                    ? "false"
                                    : "t.xmin = pg_catalog.pg_current_xact_id()::pg_catalog.xid";
  const absl::string_view no_time =
      BDR_RULE_BROKEN("null_time") ? " OR pg_catalog.pg_xact_commit_timestamp(t.xmin) IS NULL" : "";
  return absl::StrCat(
      "(", own, no_time, " OR (pg_catalog.pg_xact_commit_timestamp(t.xmin) < ", terms.older_than,
      " AND pg_catalog.pg_xact_commit_timestamp(t.xmin) <= (", terms.seen,
      ")[(pg_catalog.pg_xact_commit_timestamp_origin(t.xmin)).roident::pg_catalog.int8"
      "::pg_catalog.int4 + 1]) OR (pg_catalog.pg_xact_commit_timestamp(t.xmin) IS NULL AND ",
      terms.long_stable, "))");
}

}  // namespace bdr::conflict
