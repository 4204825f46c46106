// Changes as pgoutput sends them, and the tables that they are about, made by hand. Only tests
// include this.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "postgres/catalog.h"
#include "postgres/pgoutput.h"
#include "postgres/wire.h"

namespace bdr::agent::testing {

// A column of a row. Values are in binary.
struct Value {
  postgres::ColumnKind kind = postgres::ColumnKind::kNull;
  std::string data = {};
  friend bool operator==(const Value&, const Value&) = default;
};
using Row = std::vector<Value>;

inline Value Null() { return {}; }
inline Value Unchanged() { return {.kind = postgres::ColumnKind::kUnchangedToast}; }
inline Value Int(int32_t number) {
  Value value{.kind = postgres::ColumnKind::kBinary};
  postgres::AppendNumber(&value.data, number);
  return value;
}
inline Value Text(absl::string_view text) {
  return {.kind = postgres::ColumnKind::kBinary, .data = std::string(text)};
}

inline void AppendTuple(std::string* out, const Row& row) {
  postgres::AppendNumber(out, static_cast<uint16_t>(row.size()));
  for (const Value& value : row) {
    out->push_back(static_cast<char>(value.kind));
    if (value.kind != postgres::ColumnKind::kBinary && value.kind != postgres::ColumnKind::kText) {
      continue;
    }
    postgres::AppendNumber(out, static_cast<uint32_t>(value.data.size()));
    out->append(value.data);
  }
}

inline std::string InsertBytes(uint32_t oid, const Row& row) {
  std::string out = "I";
  postgres::AppendNumber(&out, oid);
  out.push_back('N');
  AppendTuple(&out, row);
  return out;
}
// `old_kind` as in postgres::UpdateMessage.
inline std::string UpdateBytes(uint32_t oid, const Row& row, char old_kind = 0,
                               const Row& old = {}) {
  std::string out = "U";
  postgres::AppendNumber(&out, oid);
  if (old_kind != 0) {
    out.push_back(old_kind);
    AppendTuple(&out, old);
  }
  out.push_back('N');
  AppendTuple(&out, row);
  return out;
}
inline std::string DeleteBytes(uint32_t oid, const Row& old, char old_kind = 'K') {
  std::string out = "D";
  postgres::AppendNumber(&out, oid);
  out.push_back(old_kind);
  AppendTuple(&out, old);
  return out;
}
inline std::string TruncateBytes(const std::vector<uint32_t>& oids, bool restart_identity = false) {
  std::string out = "T";
  postgres::AppendNumber(&out, static_cast<uint32_t>(oids.size()));
  out.push_back(restart_identity ? 2 : 0);
  for (const uint32_t oid : oids) postgres::AppendNumber(&out, oid);
  return out;
}

inline std::shared_ptr<const postgres::TypeInfo> PlainType(uint32_t oid, absl::string_view name) {
  postgres::TypeInfo type;
  type.oid = type.base_oid = oid;
  type.schema = type.base_schema = "pg_catalog";
  type.name = type.base_name = std::string(name);
  return std::make_shared<const postgres::TypeInfo>(std::move(type));
}

// public.<name>(id int4 primary key, small int4, large text), the same on every node.
inline postgres::TableInfo SomeTable(uint32_t oid, absl::string_view name) {
  postgres::TableInfo table;
  table.oid = oid;
  table.row_type_oid = oid + 2;
  table.row_array_type_oid = oid + 1;
  table.schema = "public";
  table.name = std::string(name);
  table.has_key = true;
  table.published = true;
  table.columns.resize(3);
  table.columns[0].name = "id";
  table.columns[0].type = PlainType(23, "int4");
  table.columns[0].not_null = true;
  table.columns[0].key_position = 0;
  table.columns[1].name = "small";
  table.columns[1].type = PlainType(23, "int4");
  table.columns[2].name = "large";
  table.columns[2].type = PlainType(25, "text");
  for (int i = 0; i < 3; ++i) table.columns[i].attnum = i + 1;
  table.key = {0};
  return table;
}

// How the table's origin announces it.
inline postgres::RelationMessage RelationOf(const postgres::TableInfo& table) {
  postgres::RelationMessage message;
  message.relation_oid = table.oid;
  message.schema = table.schema;
  message.name = table.name;
  for (const postgres::ColumnInfo& column : table.columns) {
    message.columns.push_back({.is_key = column.key_position >= 0,
                               .name = column.name,
                               .type_oid = column.type->oid,
                               .type_modifier = -1});
  }
  return message;
}

}  // namespace bdr::agent::testing
