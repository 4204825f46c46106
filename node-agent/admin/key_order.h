// Whether two servers put the keys of a table into the same order.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "postgres/catalog.h"
#include "postgres/connection.h"

namespace bdr::agent {

// What the order of the table's key depends on: types, an enum's labels, collations with their
// versions. Servers that say the same order keys alike. Empty if the table has no key, or the order
// of a type is not known to be the same everywhere.
absl::StatusOr<std::string> KeyOrder(postgres::Connection& connection,
                                     const postgres::TableInfo& table);

}  // namespace bdr::agent
