#include "node-agent/tables/found_rows.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "node-agent/clocks/stable_xid.h"

namespace bdr::agent {

std::string FoundSql(const FoundTerms& terms) {
  std::string time = absl::StrCat("(EXTRACT(epoch FROM ", terms.time,
                                  ") * 1000000)::pg_catalog.int8::pg_catalog.text");
  if (terms.tells_long_stable) {
    time = absl::StrCat("CASE WHEN ", terms.time, " IS NOT NULL THEN ", time, " WHEN ",
                        WrittenByStableXidSql(), " THEN '", conflict::kLongStable, "' END");
  }
  return absl::StrCat(terms.place, "::pg_catalog.text,",
                      " (t.xmin = pg_catalog.pg_current_xact_id()::pg_catalog.xid)"
                      "::pg_catalog.text, t.xmin::pg_catalog.text, ",
                      time, ", ", terms.roident, "::pg_catalog.text");
}

absl::StatusOr<size_t> PlaceOf(absl::string_view text, size_t places) {
  size_t place = 0;
  if (!absl::SimpleAtoi(text, &place) || place == 0 || place > places) {
    return absl::InternalError("a statement returned a place that it was not given");
  }
  return place - 1;
}

FoundRow FoundRows::At(const postgres::Result& result, int row, int first) const {
  FoundRow found;
  found.xmin = std::string(result.value(row, first + 2));
  int64_t time_us = 0;
  if (!result.is_null(row, first + 3) && absl::SimpleAtoi(result.value(row, first + 3), &time_us)) {
    found.at.time_us = time_us;
  }
  uint32_t roident = 0;
  if (!result.is_null(row, first + 4)) {
    (void)absl::SimpleAtoi(result.value(row, first + 4), &roident);
  }
  if (const auto node = node_of_roident_->find(roident); node != node_of_roident_->end()) {
    found.at.writer = conflict::Writer::kNode;
    found.at.node = node->second;
  } else if (roident != 0) {
    found.foreign_time = true;
    // Which that tool gave any value it liked: it is as good as lost.
    if (!takes_foreign_times_) found.at.time_us.reset();
  }
  if (result.value(row, first + 1) == "true") {
    found.at.writer = conflict::Writer::kThisTransaction;
  }
  return found;
}

absl::Status FoundRows::Read(
    const postgres::Result& result, size_t places, int json_column,
    absl::FunctionRef<absl::Status(size_t place, FoundRow found, int row)> take) const {
  for (int row = 0; row < result.rows(); ++row) {
    ASSIGN_OR_RETURN(const size_t place, PlaceOf(result.value(row, 0), places));
    FoundRow found = At(result, row);
    if (json_column >= 0) found.json = std::string(result.value(row, json_column));
    RETURN_IF_ERROR(take(place, std::move(found), row));
  }
  return absl::OkStatus();
}

}  // namespace bdr::agent
