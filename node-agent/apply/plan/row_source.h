// Where an applier gets values of rows that a change did not carry: from the other members.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/origin.h"
#include "conflict/stamp.h"
#include "conflict/version_store.h"
#include "node-agent/tables/column_map.h"
#include "postgres/catalog.h"
#include "postgres/pgoutput.h"

namespace bdr::agent {

// As postgres::ColumnValue, and owns its bytes.
struct OwnedValue {
  postgres::ColumnKind kind = postgres::ColumnKind::kNull;
  std::string data = {};
};

// How a column is declared, its domain resolved.
struct ColumnType {
  uint32_t oid = 0;  // on the node that says so
  int32_t modifier = -1;
  std::string schema = {};
  std::string name = {};
};

inline ColumnType ColumnTypeOf(const postgres::ColumnInfo& column) {
  return {.oid = column.type->base_oid,
          .modifier = column.modifier(),
          .schema = column.type->base_schema,
          .name = column.type->base_name};
}

// A column of such a type in a relation, as if pgoutput had announced it. What has no type is taken
// to be of the type that it is compared with.
inline void AddColumn(const std::string& name, const ColumnType& type,
                      postgres::RelationMessage* relation, TypeNames* types) {
  relation->columns.push_back({.name = name, .type_oid = type.oid, .type_modifier = type.modifier});
  if (type.oid != 0) {
    (*types)[type.oid] = {.type_oid = type.oid, .schema = type.schema, .name = type.name};
  }
}

struct RowsWanted {
  std::string schema;
  std::string table;
  std::vector<std::string> key_columns;
  std::vector<ColumnType> key_types;  // as many
  std::vector<std::string> columns;
  struct Row {
    std::vector<OwnedValue> key;
    conflict::Stamp stamp;  // the version that is wanted
  };
  std::vector<Row> rows;
  bool exact_only = false;  // answer only for rows that are that very version
};

// The fields mean what they mean in proto/bdr/v1/rows.proto.
struct RowAnswer {
  enum class State { kUnknown, kFound, kGone };
  State state = State::kUnknown;
  conflict::Version version;
  std::vector<OwnedValue> values;
  // Of the columns asked for, as the node that answers has them; empty: as here.
  std::vector<ColumnType> types = {};
};

// Thread-safe.
class RowSource {
 public:
  virtual ~RowSource() = default;

  // The other members of the cluster that have joined.
  virtual std::vector<NodeId> Members() = 0;
  virtual std::string NameOf(NodeId node) = 0;
  // Answers for the first rows, at least one. kNotFound if the node has no such table or column;
  // any other error: it cannot be asked now. Gives up soon after `stop` says so.
  virtual absl::StatusOr<std::vector<RowAnswer>> Fetch(NodeId node, const RowsWanted& wanted,
                                                       const std::function<bool()>& stop) = 0;
};

}  // namespace bdr::agent
