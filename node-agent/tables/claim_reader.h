// Which unique values a row lays claim to: what at most one row of its table may hold, in a form
// in which equal means equal to PostgreSQL.
//
// Values of plain columns are compared here. What needs PostgreSQL (expressions, predicates, types
// and collations without a canonical form, exclusion constraints) is asked of it over a connection
// of the reader's own, outside of any transaction: the answer depends on the row alone.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "conflict/claim_rule.h"
#include "conflict/claim_store.h"
#include "node-agent/tables/bound_table.h"
#include "postgres/connection.h"

namespace bdr::agent {

// By constraint, in the order of TableInfo::constraints: the value that a row claims; unset where
// it claims none.
using RowClaims = std::vector<std::optional<std::string>>;

// Whether versions of the table's rows claim anything: it has constraints beside its key.
bool HasClaims(const postgres::TableInfo& table);

// How a claim that is made at `stamp` is named in the store.
std::string StoredClaimKey(const postgres::ConstraintInfo& constraint, absl::string_view value,
                           const conflict::Stamp& stamp);

// How a claim is named among the keys in flight. Where values can only be compared by PostgreSQL,
// all of a constraint are one that may be the same by those parts which can be hashed.
std::string InFlightKey(const postgres::ConstraintInfo& constraint, absl::string_view value);

// Not thread-safe.
class ClaimReader {
 public:
  explicit ClaimReader(postgres::ConnectOptions options) : options_(std::move(options)) {}

  // What each row claims. A constraint on a column that does not come with the row (an unchanged
  // large value) is not claimed: the version that brought the value did.
  // kUnavailable if PostgreSQL has to be asked and cannot be; its error if it refuses, or if a user
  // keeps it from the table for a second (lock_not_available).
  absl::StatusOr<std::vector<RowClaims>> Read(const BoundTable& table,
                                              absl::Span<const LocalRow* const> rows);

  // Who has claimed the same as each of `values` (of the constraint with this index) later than it
  // was claimed with the stamp in `stamps`, by the store; earlier claims may be among them or not.
  absl::StatusOr<std::vector<conflict::Claimants>> WhoClaimed(
      const BoundTable& table, size_t constraint, absl::Span<const std::string> values,
      absl::Span<const conflict::Stamp> stamps, const conflict::ClaimStore& store);

 private:
  absl::Status Connect();
  absl::Status ReadBySql(const BoundTable& table, absl::Span<const LocalRow* const> rows,
                         absl::Span<RowClaims> claims);
  absl::StatusOr<std::vector<std::pair<size_t, size_t>>> Same(
      const postgres::ConstraintInfo& constraint, absl::Span<const std::string> one,
      absl::Span<const std::string> other);

  const postgres::ConnectOptions options_;
  std::unique_ptr<postgres::Connection> connection_;  // opened when it is needed
};

// The rows of the table that hold the same as one of the rows given, by one constraint: place
// (int8, 1-based) of the row given, the key's columns of the row found, and its xmin as text, all
// in binary. Nothing is locked. $1 rows, then columns_beside().
std::string HoldersSql(const BoundTable& table, const postgres::ConstraintInfo& constraint);

}  // namespace bdr::agent
