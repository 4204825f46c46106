// A relation as the server announced it to capture.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node-agent/tables/column_map.h"
#include "postgres/catalog.h"
#include "postgres/pgoutput.h"

namespace bdr::agent {

// In which form each column's values are to travel.
struct ColumnForms {
  std::vector<std::shared_ptr<const postgres::TypeInfo>> types;  // null: gone by now
  std::vector<bool> binary;
  bool any_text = false;
  bool any_gone = false;
};

// A later announcement of the same OID is another one.
struct CapturedRelation {
  // pgoutput's message, outside of a stream. The table's name is that of today if it is still
  // there (on 15 the server goes on under a schema's old name); columns have the names of then.
  std::string raw;
  postgres::RelationMessage
      message;                       // with the names of today; columns that are gone are marked so
  bool replicated = false;           // a user's table, with a key that rows can be found by
  std::optional<ColumnMap> columns;  // unset if the table has no key, or is gone by now
  ColumnForms forms;                 // empty if it is not replicated
};

}  // namespace bdr::agent
