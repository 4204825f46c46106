// The rows that stand at given keys, as statements tell of them: what is selected, and how it is
// read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/origin.h"
#include "conflict/row_rule.h"
#include "postgres/connection.h"

namespace bdr::agent {

struct FoundRow {
  conflict::FoundRow at;  // who wrote it, and when
  // Its commit time was made up by another tool, which wrote it under an origin of its own.
  bool foreign_time = false;
  std::string xmin;
  std::string json;  // the row, if the statement shows it
};

// Where the statement has what is told of the row t.
struct FoundTerms {
  absl::string_view place = "r.n";  // 1-based
  absl::string_view time = "pg_catalog.pg_xact_commit_timestamp(t.xmin)";
  absl::string_view roident = "(pg_catalog.pg_xact_commit_timestamp_origin(t.xmin)).roident";
  // The time is conflict::kLongStable where PostgreSQL has lost it and the row is that old.
  bool tells_long_stable = true;
};

// kFoundColumns expressions, all of them texts, so that they read the same in binary results.
std::string FoundSql(const FoundTerms& terms = {});
inline constexpr int kFoundColumns = 5;

// Reads them. Thread-safe.
class FoundRows {
 public:
  // `node_of_roident`: PostgreSQL's ids of our replication origins; outlives this.
  explicit FoundRows(const absl::flat_hash_map<uint32_t, NodeId>* node_of_roident,
                     bool takes_foreign_times = false)
      : node_of_roident_(node_of_roident), takes_foreign_times_(takes_foreign_times) {}

  // Gives `take` each row of a result, with its place (0-based) among `places` and its row in the
  // result. `json_column`: where the row is shown; -1 if it is not. kInternal if a place is none.
  absl::Status Read(
      const postgres::Result& result, size_t places, int json_column,
      absl::FunctionRef<absl::Status(size_t place, FoundRow found, int row)> take) const;

  // One row of a result, whose columns begin at `first`. Its place is not looked at.
  FoundRow At(const postgres::Result& result, int row, int first = 0) const;

 private:
  const absl::flat_hash_map<uint32_t, NodeId>* const node_of_roident_;
  const bool takes_foreign_times_;
};

// The 0-based place that a statement has returned. kInternal if it is none of so many.
absl::StatusOr<size_t> PlaceOf(absl::string_view text, size_t places);

}  // namespace bdr::agent
