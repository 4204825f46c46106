#include "node-agent/apply/plan/group_claims.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "node-agent/apply/session/lock_waits.h"

namespace bdr::agent {

using postgres::ConstraintInfo;

absl::Status GroupClaims::Read(GroupPlan& plan, ClaimReader* reader) {
  tables_.clear();
  for (const Segment& segment : plan.segments()) {
    for (const TableOps& ops : segment.tables) {
      if (!HasClaims(ops.table->table())) continue;
      TableClaims& claims = tables_[&ops];
      for (const auto* versions : {&ops.rows, &ops.superseded}) {
        for (const RowOp& op : *versions) {
          if (!op.is_delete()) claims.versions.push_back(&op);
        }
      }
      std::vector<const LocalRow*> rows;
      for (const RowOp* op : claims.versions) rows.push_back(&op->row);
      absl::StatusOr<std::vector<RowClaims>> read = reader->Read(*ops.table, rows);
      if (!read.ok()) {
        const postgres::TableInfo& table = ops.table->table();
        return AtTable(read.status(), table.QualifiedName(), table.DisplayName());
      }
      claims.claims = *std::move(read);
    }
  }
  return absl::OkStatus();
}

std::vector<std::string> GroupClaims::InFlightKeys() const {
  std::vector<std::string> keys;
  for (const auto& [ops, table] : tables_) {
    const std::vector<ConstraintInfo>& constraints = ops->table->table().constraints;
    for (const RowClaims& claims : table.claims) {
      for (size_t c = 0; c < constraints.size(); ++c) {
        if (claims[c].has_value()) keys.push_back(InFlightKey(constraints[c], *claims[c]));
      }
    }
  }
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  return keys;
}

void GroupClaims::Record(const conflict::ClaimStore& store, rocksdb::WriteBatch* batch) const {
  for (const auto& [ops, table] : tables_) {
    const std::vector<ConstraintInfo>& constraints = ops->table->table().constraints;
    for (size_t i = 0; i < table.versions.size(); ++i) {
      const RowOp& op = *table.versions[i];
      for (size_t c = 0; c < constraints.size(); ++c) {
        if (!table.claims[i][c].has_value()) continue;
        store.Put(batch, StoredClaimKey(constraints[c], *table.claims[i][c], op.stamp),
                  op.version_key, op.stamp);
      }
    }
  }
}

absl::Status GroupClaims::LookUp(const conflict::ClaimStore& store, ClaimReader* reader) {
  for (auto& [ops, table] : tables_) {
    const size_t constraints = ops->table->table().constraints.size();
    table.claimants.assign(table.versions.size(), std::vector<conflict::Claimants>(constraints));
    for (size_t c = 0; c < constraints; ++c) {
      std::vector<size_t> who;
      std::vector<std::string> values;
      std::vector<conflict::Stamp> stamps;
      for (size_t i = 0; i < table.versions.size(); ++i) {
        if (!table.claims[i][c].has_value()) continue;
        who.push_back(i);
        values.push_back(*table.claims[i][c]);
        stamps.push_back(table.versions[i]->stamp);
      }
      ASSIGN_OR_RETURN(std::vector<conflict::Claimants> found,
                       reader->WhoClaimed(*ops->table, c, values, stamps, store));
      for (size_t i = 0; i < who.size(); ++i) table.claimants[who[i]][c] = std::move(found[i]);
    }
  }
  return absl::OkStatus();
}

const TableClaims* GroupClaims::Of(const TableOps& ops) const {
  const auto found = tables_.find(&ops);
  return found == tables_.end() ? nullptr : &found->second;
}

}  // namespace bdr::agent
