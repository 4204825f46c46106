// A relation as the server announced it to capture.
#pragma once

#include <optional>
#include <string>

#include "node-agent/row_key.h"
#include "postgres/pgoutput.h"

namespace bdr::agent {

// A later announcement of the same OID is another one.
struct CapturedRelation {
  std::string raw;  // pgoutput's message, outside of a stream
  postgres::RelationMessage message;
  bool replicated = false;           // a user's table
  std::optional<ColumnMap> columns;  // unset if the table has no key, or is gone by now
};

}  // namespace bdr::agent
