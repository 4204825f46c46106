#include "node-agent/tables/local_relation.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bdr::agent {
namespace {

using Outcome = FoundName::Outcome;

NamesHere TablesIn(TableCache* tables) {
  return {
      .has_table = [tables](const TableName& name) -> absl::StatusOr<bool> {
        const auto table = tables->Find(name.first, name.second);
        if (absl::IsNotFound(table.status())) return false;
        // There is something of that name, though no table that can be written to.
        if (absl::IsUnavailable(table.status())) return table.status();
        return true;
      },
      .table_made_us =
          [tables](const TableName& name) { return tables->TableMadeUs(name.first, name.second); }};
}

bool HasColumn(const postgres::TableInfo& table, const std::string& name) {
  return std::any_of(table.columns.begin(), table.columns.end(),
                     [&name](const postgres::ColumnInfo& column) { return column.name == name; });
}

ColumnsHere ColumnsOf(const postgres::TableInfo& table, TableCache* tables) {
  return {.has_column = [&table](const std::string& name) { return HasColumn(table, name); },
          .column_made_us =
              [&table, tables](const std::string& name) {
                return tables->ColumnMadeUs(table.schema, table.name, name);
              }};
}

void Say(const TableChange& change, std::string* said) {
  const std::string text =
      absl::StrCat(change.ToString(), " (settings version ", change.version, ")");
  if (said->find(text) == said->npos) absl::StrAppend(said, said->empty() ? "" : "; ", text);
}

// Columns of a relation in the order of their numbers, as the server sends them, and those of the
// table by now are the same ones if none was ever dropped and there are as many: only names differ.
bool SameColumnsRenamed(const postgres::RelationMessage& relation, const postgres::TableInfo& table,
                        const std::vector<const postgres::ColumnInfo*>& sent) {
  if (table.natts != static_cast<int>(table.columns.size()) ||
      sent.size() != relation.columns.size()) {
    return false;
  }
  for (size_t i = 0; i < sent.size(); ++i) {
    const postgres::RelationColumn& then = relation.columns[i];
    // Two that have swapped their names would be taken for each other otherwise; a name that
    // stands in another place is none of these columns'.
    const bool known = HasColumn(table, then.name);
    if (known && then.name != sent[i]->name) return false;
    if (!known && sent[i]->type->oid != then.type_oid && sent[i]->type->base_oid != then.type_oid) {
      return false;
    }
  }
  return true;
}

}  // namespace

absl::StatusOr<LocalRelation> FindLocalRelation(const postgres::RelationMessage& relation,
                                                const MadeAt& at,
                                                absl::Span<const TableChange> changes,
                                                TableCache* tables) {
  LocalRelation found{.message = relation};
  if (changes.empty()) return found;
  const TableName name(relation.schema, relation.name);
  ASSIGN_OR_RETURN(const FoundTable table,
                   FindTableName(name, at, changes, TablesIn(tables), &found.holds));
  auto gone = std::make_shared<GoneValues>();
  gone->relation = absl::StrCat(relation.schema, ".", relation.name);
  if (table.outcome == Outcome::kGone) {
    gone->table = true;
    for (size_t i = 0; i < relation.columns.size(); ++i) {
      gone->columns.push_back(static_cast<int>(i));
    }
    Say(*table.by, &gone->said);
    found.gone = std::move(gone);
    return found;
  }
  if (table.outcome == Outcome::kNotHere) return found;
  std::tie(found.message.schema, found.message.name) = table.name;
  const auto info = tables->Find(table.name.first, table.name.second);
  if (absl::IsUnavailable(info.status())) return info.status();
  if (!info.ok()) return found;  // whoever binds it says why
  for (size_t i = 0; i < relation.columns.size(); ++i) {
    postgres::RelationColumn& column = found.message.columns[i];
    ASSIGN_OR_RETURN(const FoundName here, FindColumnName(column.name, table.names, at, changes,
                                                          ColumnsOf(**info, tables), &found.holds));
    if (here.outcome == Outcome::kHere) column.name = here.name;
    if (here.outcome != Outcome::kGone) continue;
    column.gone = true;
    gone->columns.push_back(static_cast<int>(i));
    Say(*here.by, &gone->said);
  }
  if (!gone->columns.empty()) found.gone = std::move(gone);
  return found;
}

absl::StatusOr<LocalRelation> FindOwnRelation(const postgres::RelationMessage& relation,
                                              absl::Span<const TableChange> changes, bool anew,
                                              TableCache* tables) {
  LocalRelation found{.message = relation};
  ASSIGN_OR_RETURN(const std::shared_ptr<const postgres::TableInfo> table,
                   tables->FindByOid(relation.relation_oid, anew));
  found.message.schema = table->schema;
  found.message.name = table->name;
  std::vector<const postgres::ColumnInfo*> sent;
  for (const postgres::ColumnInfo& column : table->columns) {
    if (!column.generated) sent.push_back(&column);
  }
  const bool renamed = SameColumnsRenamed(relation, *table, sent);
  const std::vector<TableName> names = {{relation.schema, relation.name},
                                        {table->schema, table->name}};
  for (size_t i = 0; i < relation.columns.size(); ++i) {
    postgres::RelationColumn& column = found.message.columns[i];
    if (HasColumn(*table, column.name)) continue;
    if (renamed) {
      column.name = sent[i]->name;
      continue;
    }
    ASSIGN_OR_RETURN(const FoundName here, FindColumnName(column.name, names, MadeAt{}, changes,
                                                          ColumnsOf(*table, tables), &found.holds));
    if (here.outcome == Outcome::kHere) {
      column.name = here.name;
    } else {
      column.gone = true;
    }
  }
  found.holds = {};
  return found;
}

absl::StatusOr<bool> IsDoneHere(const TableChange& change, absl::Span<const TableChange> changes,
                                TableCache* tables) {
  const NamesHere here = TablesIn(tables);
  if (change.kind == TableChange::Kind::kSchemaRenamed) {
    ASSIGN_OR_RETURN(const bool before, tables->HasSchema(change.schema));
    ASSIGN_OR_RETURN(const bool after, tables->HasSchema(change.new_schema));
    return !before || after;
  }
  tables->Forget(change.schema, change.table);
  ASSIGN_OR_RETURN(const bool exists, here.has_table({change.schema, change.table}));
  if (change.kind == TableChange::Kind::kTableDropped) return !exists;
  if (change.kind == TableChange::Kind::kTableRenamed) {
    tables->Forget(change.new_schema, change.new_table);
    ASSIGN_OR_RETURN(const bool after, here.has_table({change.new_schema, change.new_table}));
    return !exists || after;
  }
  AnswerHolds holds;
  const absl::StatusOr<FoundTable> table =
      FindTableName({change.schema, change.table}, MadeAt{}, changes, here, &holds);
  if (absl::IsUnavailable(table.status())) return table.status();
  if (!table.ok()) return false;
  if (table->outcome != Outcome::kHere) return true;
  tables->Forget(table->name.first, table->name.second);
  const auto info = tables->Find(table->name.first, table->name.second);
  if (absl::IsUnavailable(info.status())) return info.status();
  if (!info.ok()) return true;
  const bool before = HasColumn(**info, change.column);
  if (change.kind == TableChange::Kind::kColumnDropped) return !before;
  return !before || HasColumn(**info, change.new_column);
}

}  // namespace bdr::agent
