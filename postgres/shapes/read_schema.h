// The shapes of all tables of a database that are replicated, or could be: read with a few queries
// whatever their number.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "postgres/connection.h"

namespace bdr::v1 {
class Schema;
}

namespace bdr::postgres {

// Fills `schema` (empty) with every permanent table of users, those of extensions left out. Not
// inside of a transaction: it begins one, so that all is of one moment. Errors are those of the
// connection, and those of a table that was dropped meanwhile: read again.
absl::Status ReadSchema(Connection& connection, v1::Schema* schema);

// What ReadSchema() reads cannot have changed while this stays the same. Costs a look at the user's
// part of some catalogs: about 100 ms for 10,000 tables.
absl::StatusOr<std::string> CatalogFingerprint(Connection& connection);

// Cheaper still: while this stays the same, no transaction has ended, so nothing has changed at
// all.
absl::StatusOr<std::string> PresentSnapshot(Connection& connection);

}  // namespace bdr::postgres
