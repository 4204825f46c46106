#include "node-agent/capture/own_relations.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "node-agent/capture/may_pass.h"
#include "node-agent/tables/local_relation.h"

namespace bdr::agent {
namespace {

// The column of the table's key that no node can find a row by; null if there is none, or if the
// changes come from when the table had another key.
const postgres::ColumnInfo* UnfitKeyColumn(const postgres::TableInfo& table,
                                           const postgres::RelationMessage& message) {
  const postgres::ColumnInfo* unfit = nullptr;
  for (const int local : table.key) {
    const postgres::ColumnInfo& column = table.columns[local];
    const bool announced =
        std::any_of(message.columns.begin(), message.columns.end(), [&column](const auto& remote) {
          return remote.is_key && remote.name == column.name && remote.type_oid == column.type->oid;
        });
    if (!announced && !column.generated) return nullptr;
    if (column.generated || !column.key_canonical) unfit = &column;
  }
  return unfit;
}

}  // namespace

// In this order: whose relation it is (bdr's own do not travel); the forms of its values, which the
// stream needs in any case; the table of today, by its OID; whether rows of it can be found by its
// key; and last how its columns lie, for versions. Whatever fails for good on the way leaves the
// relation with what is known by then, so that its changes still go out.
absl::StatusOr<std::shared_ptr<const CapturedRelation>> OwnRelations::Announce(
    absl::string_view raw, postgres::RelationMessage message) {
  auto relation = std::make_shared<CapturedRelation>();
  relation->raw = std::string(raw);
  relation->message = std::move(message);
  relation->replicated = relation->message.schema != "bdr";
  if (!relation->replicated) return relation;
  ASSIGN_OR_RETURN(relation->forms, forms_.Describe(relation->message));

  // Announced for the first time, or because its shape has changed. The catalog is today's, the
  // relation is from when the row was written: the OID tells which table it is.
  absl::StatusOr<LocalRelation> here =
      FindOwnRelation(relation->message, *settings_->TableChanges(), /*anew=*/true, tables_);
  if (absl::IsNotFound(here.status())) return relation;  // dropped since
  if (MayPass(here.status())) return here.status();
  // Where they no longer fit, the change goes out as it is; only its version is not kept.
  const auto without_versions = [&](const absl::Status& why) {
    LogWarning("capture", {{"relation", relation->message.schema + "." + relation->message.name}},
               absl::StrCat("row versions are not kept until the table is announced again: ",
                            why.message()));
    return relation;
  };
  if (!here.ok()) return without_versions(here.status());
  if (here->message.schema != relation->message.schema ||
      here->message.name != relation->message.name) {
    postgres::RelationMessage named = relation->message;
    named.schema = here->message.schema;
    named.name = here->message.name;
    relation->raw = postgres::Encode(named);
  }
  relation->message = std::move(here->message);
  absl::StatusOr<std::shared_ptr<const postgres::TableInfo>> table =
      tables_->Find(relation->message.schema, relation->message.name);
  if (MayPass(table.status())) return table.status();
  if (!table.ok()) return without_versions(table.status());
  if (!(*table)->has_key) return relation;
  // It was put into the publication by hand, or before its key became what it is: no node could
  // write its rows, and each would stop.
  if (const postgres::ColumnInfo* column = UnfitKeyColumn(**table, relation->message)) {
    LogError("capture", {{"relation", (*table)->DisplayName()}},
             absl::StrCat("changes of the table do not travel, as rows cannot be found by its key "
                          "column \"",
                          column->name, "\": run \"bdrctl node check\""));
    relation->replicated = false;
    return relation;
  }
  absl::StatusOr<ColumnMap> columns = ColumnMap::Make(
      relation->message, *std::move(table), /*every_column=*/false, TypesOf(relation->message));
  if (!columns.ok()) return without_versions(columns.status());
  relation->columns = *std::move(columns);
  return relation;
}

bool OwnRelations::MustLookAgain() {
  const uint64_t generation = settings_->generation();
  return std::exchange(settings_generation_, generation) != generation &&
         !settings_->TableChanges()->empty();
}

// What does not decode is not known: the table's own type counts then.
TypeNames OwnRelations::TypesOf(const postgres::RelationMessage& relation) const {
  TypeNames names;
  for (const postgres::RelationColumn& column : relation.columns) {
    const auto raw = types_.find(column.type_oid);
    if (raw == types_.end()) continue;
    const absl::StatusOr<postgres::Message> message = postgres::Decode(raw->second);
    if (!message.ok()) continue;
    if (const auto* type = std::get_if<postgres::TypeMessage>(&*message)) {
      names[column.type_oid] = *type;
    }
  }
  return names;
}

}  // namespace bdr::agent
