// A table as the node where a change was made describes it.
#pragma once

#include <string>

#include "node-agent/tables/column_map.h"
#include "postgres/pgoutput.h"

namespace bdr::agent {

// A relation of the origin, with the names of its user-defined types.
struct RemoteRelation {
  std::string raw;  // as announced: equal bytes, equal relation
  postgres::RelationMessage message;
  TypeNames types;
};

}  // namespace bdr::agent
