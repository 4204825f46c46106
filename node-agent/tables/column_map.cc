#include "node-agent/tables/column_map.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/big_endian.h"
#include "base/status_macros.h"
#include "postgres/type_names.h"

namespace bdr::agent {

// With its size in front: no two keys of several columns give the same bytes.
void AppendKeyValue(std::string* key, absl::string_view canonical) {
  AppendBigEndian(key, canonical.size(), 4);
  key->append(canonical.data(), canonical.size());
}

namespace {

// One column's value in canonical form.
absl::StatusOr<std::string> Canonical(const postgres::TableInfo& table,
                                      const postgres::ColumnInfo& column,
                                      const postgres::ColumnValue& value) {
  switch (value.kind) {
    case postgres::ColumnKind::kBinary:
      return postgres::CanonicalKeyValue(*column.type, value.data);
    case postgres::ColumnKind::kText:
      return std::string(value.data);
    default:
      return absl::InvalidArgumentError(absl::StrCat("a change of \"", table.DisplayName(),
                                                     "\" comes without its key column \"",
                                                     column.name, "\""));
  }
}

// As SQL spells it where that can be told.
std::string LocalType(const postgres::ColumnInfo& column) {
  const postgres::TypeInfo& type = *column.type;
  return postgres::SpellType(type.base_oid, column.modifier())
      .value_or(postgres::TypeNameForPeople(type.base_oid, type.base_schema, type.base_name));
}

}  // namespace

absl::StatusOr<ColumnMap> ColumnMap::Make(const postgres::RelationMessage& relation,
                                          std::shared_ptr<const postgres::TableInfo> table,
                                          bool every_column, const TypeNames& types) {
  ColumnMap map;
  map.local_of_remote_.assign(relation.columns.size(), -1);
  map.remote_of_local_.assign(table->columns.size(), -1);
  for (size_t remote = 0; remote < relation.columns.size(); ++remote) {
    if (relation.columns[remote].gone) continue;
    const std::string& name = relation.columns[remote].name;
    for (size_t local = 0; local < table->columns.size(); ++local) {
      if (table->columns[local].name != name) continue;
      map.local_of_remote_[remote] = static_cast<int>(local);
      map.remote_of_local_[local] = static_cast<int>(remote);
    }
    if (every_column && map.local_of_remote_[remote] < 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("table \"", table->DisplayName(), "\" has no column \"", name,
                       "\" here; add it (ALTER TABLE ", table->QualifiedName(), " ADD COLUMN ",
                       postgres::QuoteIdentifier(name),
                       " ...) and run \"bdrctl apply retry\", or say what became of it: \"bdrctl "
                       "table column-dropped\" or \"bdrctl table column-renamed\""));
    }
  }
  for (const int key : table->key) {
    if (map.remote_of_local_[key] < 0) {
      return absl::FailedPreconditionError(absl::StrCat(
          "table \"", table->DisplayName(), "\": key column \"", table->columns[key].name,
          "\" does not come with the changes; give the table the same key on "
          "every node"));
    }
  }
  map.table_ = std::move(table);
  RETURN_IF_ERROR(map.CompareTypes(relation, types, every_column));
  return map;
}

// A value's binary form means something only to its own type. Names are compared where OIDs differ
// between servers.
absl::Status ColumnMap::CompareTypes(const postgres::RelationMessage& relation,
                                     const TypeNames& types, bool every_column) {
  using Way = postgres::ValueConversion::Way;
  conversions_.resize(relation.columns.size());
  remote_types_.resize(relation.columns.size());
  same_type_.assign(relation.columns.size(), true);
  same_name_.assign(relation.columns.size(), false);
  for (size_t remote = 0; remote < relation.columns.size(); ++remote) {
    const postgres::RelationColumn& there = relation.columns[remote];
    if (local_of_remote_[remote] < 0 || there.type_oid == 0) continue;
    const postgres::ColumnInfo& column = table_->columns[local_of_remote_[remote]];
    const postgres::TypeInfo& local = *column.type;
    postgres::RemoteType type{.oid = there.type_oid, .modifier = there.type_modifier};
    std::string name = postgres::SpellType(type.oid, there.type_modifier)
                           .value_or(postgres::TypeNameForPeople(type.oid, "", ""));
    bool known = true;
    if (there.type_oid >= postgres::kFirstUserOid) {
      // pgoutput gives a domain's OID together with the name of the type that it stands on, and
      // not with that type's modifier.
      const auto named = types.find(there.type_oid);
      type = {.oid = 0, .modifier = std::nullopt};
      if (named != types.end()) {
        name = postgres::TypeNameForPeople(0, named->second.schema, named->second.name);
        known = named->second.schema == local.base_schema && named->second.name == local.base_name;
        if (!known && named->second.schema == "pg_catalog") {
          type.oid = postgres::ConvertibleType(named->second.name);
          if (type.oid != 0) name = *postgres::SpellType(type.oid, -1);
          known = type.oid != 0;
        }
      } else {
        // PostgreSQL names every user type that a relation uses; arrays of them as well.
        known = local.oid >= postgres::kFirstUserOid;
      }
    }
    remote_types_[remote] = name;
    postgres::ValueConversion::Found found{.way = Way::kNone};
    if (known) found = postgres::ValueConversion::Find(type, local, column.modifier());
    // The version store finds a row by its key's canonical form, from before an ALTER TABLE too.
    const bool is_key = column.key_position >= 0;
    const uint32_t from = type.oid != 0 ? type.oid : local.base_oid;
    if (is_key && !postgres::SameCanonicalForm(from, local.base_oid)) found.way = Way::kNone;
    if (found.way == Way::kNone && (every_column || is_key)) {
      return absl::FailedPreconditionError(
          absl::StrCat(is_key ? "key column \"" : "column \"", column.name, "\" of table \"",
                       table_->DisplayName(), "\" ", TypesDiffer(remote)));
    }
    conversions_[remote] = found.conversion;
    same_name_[remote] = known && type.oid == 0;
    same_type_[remote] = known && from == local.base_oid;
    converts_ = converts_ || found.conversion != nullptr;
  }
  return absl::OkStatus();
}

std::string ColumnMap::TypesDiffer(size_t remote) const {
  const postgres::ColumnInfo& column = table_->columns[local_of_remote_[remote]];
  return absl::StrCat("is of type ", LocalType(column), " here and of type ", remote_types_[remote],
                      " where the change comes from; give it the same type on every node (here: "
                      "ALTER TABLE ",
                      table_->QualifiedName(), " ALTER COLUMN ",
                      postgres::QuoteIdentifier(column.name), " TYPE ", remote_types_[remote],
                      ") and run \"bdrctl apply retry\"");
}

absl::StatusOr<postgres::ColumnValue> ColumnMap::Convert(size_t remote,
                                                         const postgres::ColumnValue& value,
                                                         std::string* kept) const {
  const bool has_data =
      value.kind == postgres::ColumnKind::kBinary || value.kind == postgres::ColumnKind::kText;
  if (!has_data || remote >= conversions_.size() || conversions_[remote] == nullptr) return value;
  // Text is read by the type itself (an array beside a domain, say): only its name can be compared.
  if (value.kind == postgres::ColumnKind::kText && same_name_[remote]) return value;
  std::optional<std::string> converted;
  if (value.kind == postgres::ColumnKind::kBinary) {
    converted = conversions_[remote]->Convert(value.data);
  }
  if (!converted.has_value()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "a value of the change does not fit into column \"",
        table_->columns[local_of_remote_[remote]].name, "\" of table \"", table_->DisplayName(),
        "\" without losing something, which ", TypesDiffer(remote)));
  }
  *kept = *std::move(converted);
  return postgres::ColumnValue{.kind = postgres::ColumnKind::kBinary, .data = *kept};
}

absl::StatusOr<std::string> ColumnMap::Key(const postgres::Tuple& tuple) const {
  std::string key;
  for (const int local : table_->key) {
    const size_t remote = static_cast<size_t>(remote_of_local_[local]);
    if (remote >= tuple.columns.size()) {
      return absl::InvalidArgumentError(absl::StrCat("a change of \"", table_->DisplayName(),
                                                     "\" has fewer columns than its relation"));
    }
    std::string kept;
    ASSIGN_OR_RETURN(const postgres::ColumnValue value,
                     Convert(remote, tuple.columns[remote], &kept));
    ASSIGN_OR_RETURN(const std::string canonical,
                     Canonical(*table_, table_->columns[local], value));
    AppendKeyValue(&key, canonical);
  }
  return key;
}

absl::StatusOr<std::string> LocalKey(const postgres::TableInfo& table,
                                     const std::vector<postgres::ColumnValue>& row) {
  std::string key;
  for (const int local : table.key) {
    ASSIGN_OR_RETURN(const std::string canonical,
                     Canonical(table, table.columns[local], row[static_cast<size_t>(local)]));
    AppendKeyValue(&key, canonical);
  }
  return key;
}

std::string KeyOperator(const postgres::ColumnInfo& column) {
  return column.key_operator.empty() ? "=" : column.key_operator;
}

std::string KeyCondition(const postgres::TableInfo& table, const std::vector<int>& key) {
  std::string sql;
  for (size_t i = 0; i < key.size(); ++i) {
    const postgres::ColumnInfo& info = table.columns[key[i]];
    absl::StrAppend(&sql, i == 0 ? "" : " AND ", "t.", postgres::QuoteIdentifier(info.name), " ",
                    KeyOperator(info), " $", i + 1,
                    "::", postgres::QuoteIdentifier(info.type->schema), ".",
                    postgres::QuoteIdentifier(info.type->name),
                    info.collation.empty() ? "" : " COLLATE ", info.collation);
  }
  return sql;
}

absl::StatusOr<postgres::Param> KeyParam(const postgres::ColumnInfo& column,
                                         const postgres::ColumnValue& value, std::string* data) {
  const bool binary = value.kind == postgres::ColumnKind::kBinary;
  if (!binary && value.kind != postgres::ColumnKind::kText) {
    return absl::InvalidArgumentError(
        absl::StrCat("key column \"", column.name, "\" comes without a value"));
  }
  *data = std::string(value.data);
  if (binary && column.type->carries_user_oids()) {
    ASSIGN_OR_RETURN(*data, postgres::TranslateBinary(*column.type, value.data));
  }
  return postgres::Param{.data = *data, .binary = binary};
}

}  // namespace bdr::agent
