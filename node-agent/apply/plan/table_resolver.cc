#include "node-agent/apply/plan/table_resolver.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "node-agent/apply/session/lock_waits.h"
#include "postgres/connection.h"

namespace bdr::agent {
namespace {

// A table that is missing is looked for this often, not for each of its changes.
constexpr absl::Duration kLookAgain = absl::Seconds(1);

bool RefusedSchema(absl::string_view schema) {
  return schema == "bdr" || schema == "information_schema" || absl::StartsWith(schema, "pg_");
}

}  // namespace

bool IsOfTheTable(const absl::Status& status) {
  return !status.ok() && !absl::IsUnavailable(status) && !absl::IsDataLoss(status) &&
         !absl::IsResourceExhausted(status) && !absl::IsCancelled(status);
}

GroupPlan::Resolve TableResolver::Resolver() {
  return [this](const std::shared_ptr<const RemoteRelation>& relation,
                const TransactionHeader& header) { return Find(*relation, header); };
}

GroupPlan::Resolve TableResolver::QuietResolver() {
  return [this](const std::shared_ptr<const RemoteRelation>& relation,
                const TransactionHeader& header) -> absl::StatusOr<GroupPlan::Resolved> {
    const auto known = unbindable_.find(relation->raw);
    if (known != unbindable_.end() && SteadyNow() < known->second.second) {
      return known->second.first;
    }
    absl::StatusOr<GroupPlan::Resolved> resolved = Find(*relation, header);
    if (IsOfTheTable(resolved.status())) {
      unbindable_[relation->raw] = {resolved.status(), SteadyNow() + kLookAgain};
    }
    return resolved;
  };
}

absl::StatusOr<GroupPlan::Resolved> TableResolver::Find(const RemoteRelation& relation,
                                                        const TransactionHeader& header) {
  const MadeAt at{.settings_version = header.settings_version, .stamp_us = header.stamp.time_us};
  std::vector<BoundRelation>& known = bound_[relation.raw];
  for (const BoundRelation& bound : known) {
    if (bound.holds.Covers(at)) return bound.resolved;
  }
  const postgres::RelationMessage& message = relation.message;
  if (RefusedSchema(message.schema)) {
    return absl::FailedPreconditionError(
        absl::StrCat("origin ", ToString(options_.origin), " sent a change of \"", message.schema,
                     ".", message.name, "\", which is not a user's table; refused"));
  }
  const auto changes = options_.settings->TableChanges();
  ASSIGN_OR_RETURN(LocalRelation here,
                   options_.own
                       ? FindOwnRelation(message, *changes, /*anew=*/false, options_.tables)
                       : FindLocalRelation(message, at, *changes, options_.tables));
  BoundRelation bound{.holds = here.holds, .resolved = {.gone = here.gone}};
  if (here.gone == nullptr || !here.gone->table) {
    ASSIGN_OR_RETURN(bound.resolved.table, Bind(relation, here));
  }
  if (here.gone != nullptr && gone_told_.insert(here.gone->said).second) {
    LogWarning("apply",
               {{"state", "gone"},
                {"origin", ToString(options_.origin)},
                {"relation", here.gone->relation}},
               absl::StrCat("what is gone here is not written, and kept in bdr.conflict_log: ",
                            here.gone->said));
  }
  known.push_back(bound);
  return bound.resolved;
}

absl::StatusOr<std::shared_ptr<const BoundTable>> TableResolver::Bind(
    const RemoteRelation& relation, const LocalRelation& here) {
  const postgres::RelationMessage& message = here.message;
  const std::string display = absl::StrCat(message.schema, ".", message.name);
  const absl::StatusOr<std::shared_ptr<const postgres::TableInfo>> table =
      options_.tables->Find(message.schema, message.name);
  if (absl::IsNotFound(table.status())) {
    return absl::FailedPreconditionError(
        absl::StrCat("table \"", display,
                     "\" does not exist here; create it as it is on the node where the change "
                     "comes from and run \"bdrctl apply retry\", or say what became of it: "
                     "\"bdrctl table renamed\", \"dropped\" or \"schema-renamed\""));
  }
  if (!table.ok()) {
    return AtTable(table.status(),
                   absl::StrCat(postgres::QuoteIdentifier(message.schema), ".",
                                postgres::QuoteIdentifier(message.name)),
                   display);
  }
  RETURN_IF_ERROR(CheckMayBeApplied(**table, message));
  // All nodes go by the policy of the name that the change came with.
  const std::shared_ptr<const PolicyHistory> policies =
      options_.settings->Policies(relation.message.schema, relation.message.name);
  RemoteRelation renamed{.raw = relation.raw, .message = message, .types = relation.types};
  ASSIGN_OR_RETURN(std::shared_ptr<const BoundTable> bound,
                   BoundTable::Make(renamed, *table, policies, options_.settings->active()));
  RETURN_IF_ERROR(CheckGeneratedThere(relation, *bound));
  return bound;
}

absl::Status TableResolver::CheckMayBeApplied(const postgres::TableInfo& table,
                                              const postgres::RelationMessage& message) {
  const std::string display = absl::StrCat(message.schema, ".", message.name);
  if (!table.published) {
    options_.tables->Forget(message.schema, message.name);
    return absl::FailedPreconditionError(
        absl::StrCat("table \"", display,
                     "\" is not published here, so it would not replicate back; run "
                     "\"SELECT bdr.sync_publications()\" and then \"bdrctl apply retry\""));
  }
  if (table.row_security) {
    options_.tables->Forget(message.schema, message.name);
    return absl::FailedPreconditionError(
        absl::StrCat("row security of table \"", display,
                     "\" hides rows from the agent; grant its role BYPASSRLS and run \"bdrctl "
                     "apply retry\""));
  }
  for (const int column : table.key) {
    if (table.columns[column].key_canonical) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("key column \"", table.columns[column].name, "\" of table \"", display,
                     "\" is of a type whose equal values may have other bytes; use another key"));
  }
  return absl::OkStatus();
}

// A generated column does not come with the changes: where it is a plain one it would stay as it
// is, or null.
absl::Status TableResolver::CheckGeneratedThere(const RemoteRelation& relation,
                                                const BoundTable& table) {
  if (options_.generated_at == nullptr || options_.own) return absl::OkStatus();
  const postgres::TableInfo& info = table.table();
  std::vector<std::string> generated =
      options_.generated_at(options_.origin.node, relation.message.schema, relation.message.name);
  const std::string& raw = relation.raw;
  if (const auto known = without_generated_.find(raw); known != without_generated_.end()) {
    generated.insert(generated.end(), known->second.begin(), known->second.end());
  }
  for (const std::string& name : generated) {
    for (size_t local = 0; local < info.columns.size(); ++local) {
      const postgres::ColumnInfo& column = info.columns[local];
      if (column.name != name || column.generated ||
          table.columns().remote_of_local()[local] >= 0) {
        continue;
      }
      if (std::vector<std::string>& known = without_generated_[raw];
          std::find(known.begin(), known.end(), name) == known.end()) {
        known.push_back(name);
      }
      options_.tables->Forget(info.schema, info.name);
      return absl::FailedPreconditionError(absl::StrCat(
          "column \"", name, "\" of table \"", info.DisplayName(),
          "\" is a plain one here and generated on the node where the change comes from, which "
          "sends no values of it; make it generated here, as it is there, and run \"bdrctl apply "
          "retry\" (once that has come, it may be made a plain one on every node)"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> TableResolver::HasKeylessRows(const Piece& piece) {
  for (const RemoteChange& change : piece.changes) {
    if (change.relation == nullptr) continue;
    ASSIGN_OR_RETURN(const GroupPlan::Resolved resolved, Find(*change.relation, piece.header));
    if (resolved.table != nullptr && !resolved.table->table().has_key) return true;
  }
  return false;
}

void TableResolver::Unbind() {
  bound_.clear();
  unbindable_.clear();
  unbound_ = true;
}

// What a table is bound to holds its policies.
void TableResolver::RefreshSettings() {
  const uint64_t generation = options_.settings->generation();
  if (std::exchange(settings_generation_, generation) == generation) return;
  Unbind();
  // What is said of tables tells that they have changed.
  if (!options_.settings->TableChanges()->empty()) options_.tables->ForgetAll();
}

}  // namespace bdr::agent
