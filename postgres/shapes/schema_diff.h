// What differs between the tables of two nodes, in words, with the statement that makes it equal.
//
// Pure. Tables, columns and constraints go by what they are, not by the order or the names of
// constraints. Of tables that neither node publishes nothing is said.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace bdr::v1 {
class Schema;
class TableShape;
}  // namespace bdr::v1

namespace bdr::postgres {

struct ShapeDifference {
  std::string table;  // schema.name
  std::string what;   // "column c is numeric(5,1) here and numeric on eu1"
  // SQL; empty if there is no one statement. To be run on the second node if `at_other`.
  std::string statement;
  bool at_other = false;
  // Changes may stop for it, or rows end differently. Others (a default) are only of interest.
  bool matters = true;
};

// How a node is spoken of: "here", "on eu1".
struct SchemaSide {
  const v1::Schema* schema = nullptr;
  std::string where;
};

// By table; both schemas' tables sorted by schema and name.
std::vector<ShapeDifference> CompareSchemas(const SchemaSide& one, const SchemaSide& other);

// What no other node can follow, whatever its tables are: a key with a generated column.
std::vector<ShapeDifference> UnfitTables(const v1::Schema& schema);

// Null if there is no such table.
const v1::TableShape* FindTableShape(const v1::Schema& schema, absl::string_view schema_name,
                                     absl::string_view table);

}  // namespace bdr::postgres
