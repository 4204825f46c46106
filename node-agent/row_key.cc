#include "node-agent/row_key.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bdr::agent {

// With its size in front: no two keys of several columns give the same bytes.
void AppendKeyValue(std::string* key, absl::string_view canonical) {
  const uint32_t size = static_cast<uint32_t>(canonical.size());
  for (int shift = 24; shift >= 0; shift -= 8) key->push_back(static_cast<char>(size >> shift));
  key->append(canonical.data(), canonical.size());
}

absl::StatusOr<ColumnMap> ColumnMap::Make(const postgres::RelationMessage& relation,
                                          std::shared_ptr<const postgres::TableInfo> table,
                                          bool every_column) {
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
                       postgres::QuoteIdentifier(name), " ...) and run \"bdrctl apply retry\""));
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
  return map;
}

absl::StatusOr<std::string> ColumnMap::Key(const postgres::Tuple& tuple) const {
  std::string key;
  for (const int local : table_->key) {
    const postgres::ColumnInfo& column = table_->columns[local];
    const size_t remote = static_cast<size_t>(remote_of_local_[local]);
    if (remote >= tuple.columns.size()) {
      return absl::InvalidArgumentError(absl::StrCat("a change of \"", table_->DisplayName(),
                                                     "\" has fewer columns than its relation"));
    }
    const postgres::ColumnValue& value = tuple.columns[remote];
    std::string canonical;
    switch (value.kind) {
      case postgres::ColumnKind::kBinary: {
        ASSIGN_OR_RETURN(canonical, postgres::CanonicalKeyValue(*column.type, value.data));
        break;
      }
      case postgres::ColumnKind::kText:
        canonical = std::string(value.data);
        break;
      default:
        return absl::InvalidArgumentError(absl::StrCat("a change of \"", table_->DisplayName(),
                                                       "\" comes without its key column \"",
                                                       column.name, "\""));
    }
    AppendKeyValue(&key, canonical);
  }
  return key;
}

absl::StatusOr<std::string> LocalKey(const postgres::TableInfo& table,
                                     const std::vector<postgres::ColumnValue>& row) {
  std::string key;
  for (const int local : table.key) {
    const postgres::ColumnValue& value = row[static_cast<size_t>(local)];
    if (value.kind != postgres::ColumnKind::kBinary) {
      return absl::InvalidArgumentError(
          absl::StrCat("a row of \"", table.DisplayName(), "\" comes without its key column \"",
                       table.columns[local].name, "\" in binary form"));
    }
    ASSIGN_OR_RETURN(const std::string canonical,
                     postgres::CanonicalKeyValue(*table.columns[local].type, value.data));
    AppendKeyValue(&key, canonical);
  }
  return key;
}

std::string KeyCondition(const postgres::TableInfo& table, const std::vector<int>& key) {
  std::string sql;
  for (size_t i = 0; i < key.size(); ++i) {
    const postgres::ColumnInfo& info = table.columns[key[i]];
    absl::StrAppend(&sql, i == 0 ? "" : " AND ", "t.", postgres::QuoteIdentifier(info.name), " = $",
                    i + 1, "::", postgres::QuoteIdentifier(info.type->schema), ".",
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
