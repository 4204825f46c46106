// Rows as pgoutput writes them: the number of columns, then for each its kind and, if it has one,
// its value. (PostgreSQL manual, "Logical Replication Message Formats".)
#pragma once

#include <cstddef>
#include <string>

#include "postgres/pgoutput.h"

namespace bdr::agent {

bool HasData(const postgres::ColumnValue& value);
size_t TupleBytes(const postgres::Tuple& tuple);
void AppendTuple(std::string* out, const postgres::Tuple& tuple);

}  // namespace bdr::agent
