#include "node-agent/capture/own_claims.h"

#include <algorithm>
#include <deque>
#include <map>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/status_macros.h"

namespace bdr::agent {
namespace {

using postgres::ColumnKind;

constexpr size_t kMaxBound = 1000;

}  // namespace

absl::StatusOr<std::shared_ptr<const BoundTable>> OwnClaims::Bind(
    const std::shared_ptr<const CapturedRelation>& relation,
    const absl::flat_hash_map<uint32_t, std::string>& types) {
  if (const auto known = bound_.find(relation.get()); known != bound_.end()) {
    return known->second.table;
  }
  RemoteRelation remote{.raw = relation->raw, .message = relation->message, .types = {}};
  for (const postgres::RelationColumn& column : relation->message.columns) {
    const auto type = types.find(column.type_oid);
    if (type == types.end()) continue;
    ASSIGN_OR_RETURN(const postgres::Message message, postgres::Decode(type->second));
    if (const auto* named = std::get_if<postgres::TypeMessage>(&message)) {
      remote.types[column.type_oid] = *named;
    }
  }
  ASSIGN_OR_RETURN(std::shared_ptr<const BoundTable> table,
                   BoundTable::Make(remote, relation->columns->shared_table()));
  if (bound_.size() >= kMaxBound) bound_.clear();
  bound_[relation.get()] = {.relation = relation, .table = table};
  return table;
}

absl::StatusOr<std::vector<std::vector<std::string>>> OwnClaims::Record(
    absl::Span<const OwnVersion> versions, const absl::flat_hash_map<uint32_t, std::string>& types,
    rocksdb::WriteBatch* batch) {
  std::vector<std::vector<std::string>> in_flight(versions.size());
  std::map<const CapturedRelation*, std::vector<size_t>> by_relation;
  for (size_t i = 0; i < versions.size(); ++i) {
    by_relation[versions[i].relation.get()].push_back(i);
  }
  for (const auto& [captured, which] : by_relation) {
    const std::shared_ptr<const CapturedRelation>& relation = versions[which.front()].relation;
    const absl::StatusOr<std::shared_ptr<const BoundTable>> table = Bind(relation, types);
    const absl::Status status =
        table.ok() ? RecordTable(**table, versions, which, batch, &in_flight) : table.status();
    if (absl::IsUnavailable(status)) {
      return absl::UnavailableError(
          absl::StrCat("cannot tell which unique values changed rows of table \"",
                       relation->columns->table().DisplayName(), "\" claim: ", status.message()));
    }
    if (!status.ok()) {
      LogWarning("capture", {{"relation", relation->columns->table().DisplayName()}},
                 absl::StrCat("unique values of changed rows are not recorded until the table is "
                              "announced again: ",
                              status.message()));
    }
  }
  return in_flight;
}

absl::Status OwnClaims::RecordTable(const BoundTable& table, absl::Span<const OwnVersion> versions,
                                    absl::Span<const size_t> which, rocksdb::WriteBatch* batch,
                                    std::vector<std::vector<std::string>>* in_flight) {
  std::deque<LocalRow> rows;
  std::deque<std::string> kept;
  std::vector<const LocalRow*> pointers;
  for (const size_t i : which) {
    ASSIGN_OR_RETURN(const postgres::Message message, postgres::Decode(versions[i].change));
    if (const auto* insert = std::get_if<postgres::InsertMessage>(&message)) {
      ASSIGN_OR_RETURN(LocalRow row, table.ToLocal(insert->row, &kept));
      rows.push_back(std::move(row));
    } else if (const auto* update = std::get_if<postgres::UpdateMessage>(&message)) {
      ASSIGN_OR_RETURN(LocalRow row, table.ToLocal(update->row, &kept));
      if (update->old_kind == 'O') {
        ASSIGN_OR_RETURN(const LocalRow old, table.ToLocal(update->old_row, &kept));
        for (size_t c = 0; c < row.size(); ++c) {
          if (row[c].kind == ColumnKind::kUnchangedToast) row[c] = old[c];
        }
      }
      rows.push_back(std::move(row));
    } else {
      return absl::InternalError("only rows that stand claim unique values");
    }
    pointers.push_back(&rows.back());
  }
  ASSIGN_OR_RETURN(const std::vector<RowClaims> claims, reader_.Read(table, pointers));
  const std::vector<postgres::ConstraintInfo>& constraints = table.table().constraints;
  for (size_t row = 0; row < which.size(); ++row) {
    const OwnVersion& version = versions[which[row]];
    for (size_t c = 0; c < constraints.size(); ++c) {
      if (!claims[row][c].has_value()) continue;
      const std::string& value = *claims[row][c];
      store_->Put(batch, StoredClaimKey(constraints[c], value, version.stamp), version.version_key,
                  version.stamp);
      (*in_flight)[which[row]].push_back(InFlightKey(constraints[c], value));
    }
  }
  return absl::OkStatus();
}

}  // namespace bdr::agent
