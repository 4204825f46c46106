// A relation as the server announced it to capture.
#pragma once

#include <optional>
#include <string>

#include "node-agent/row_key.h"
#include "postgres/pgoutput.h"

namespace bdr::agent {

// A later announcement of the same OID is another one.
struct CapturedRelation {
  // pgoutput's message, outside of a stream. The table's name is that of today if it is still
  // there (on 15 the server goes on under a schema's old name); columns have the names of then.
  std::string raw;
  postgres::RelationMessage message;  // with the names of today; columns that are gone are marked so
  bool replicated = false;            // a user's table
  std::optional<ColumnMap> columns;   // unset if the table has no key, or is gone by now
};

}  // namespace bdr::agent
