// The claims of unique values that a group's versions make: every version's, also of those that
// lose or are superseded within the group, since what was ever claimed counts. A version is what a
// transaction leaves: what a row held for a moment within it is claimed by nobody.
#pragma once

#include <rocksdb/write_batch.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "conflict/claim_rule.h"
#include "conflict/claim_store.h"
#include "node-agent/apply/plan/group_plan.h"
#include "node-agent/tables/claim_reader.h"

namespace bdr::agent {

// Whether a claim with this stamp may unseat a row of another key: not if some node does not have
// (or did not have) the constraint, as the message says; kUnavailable if that may pass in seconds.
using CountsClaim =
    std::function<absl::Status(const postgres::TableInfo& table,
                               const postgres::ConstraintInfo& constraint, int64_t stamp_us)>;

// Of one table of a plan.
struct TableClaims {
  // Every version that has a row; the plan keeps them.
  std::vector<const RowOp*> versions;
  std::vector<RowClaims> claims;  // of each
  // Of each, by constraint: who has claimed the value, by the store.
  std::vector<std::vector<conflict::Claimants>> claimants;
};

// Not thread-safe. Points into the plan that it was read from.
class GroupClaims {
 public:
  // What the plan's versions claim. Errors as of ClaimReader::Read().
  absl::Status Read(GroupPlan& plan, ClaimReader* reader);

  // The claims' names among the keys in flight, each once.
  std::vector<std::string> InFlightKeys() const;
  void Record(const conflict::ClaimStore& store, rocksdb::WriteBatch* batch) const;
  // After Record() was written: fills in the claimants.
  absl::Status LookUp(const conflict::ClaimStore& store, ClaimReader* reader);

  // Null if the table has no claims.
  const TableClaims* Of(const TableOps& ops) const;

 private:
  absl::flat_hash_map<const TableOps*, TableClaims> tables_;
};

}  // namespace bdr::agent
