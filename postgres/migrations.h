// Brings schema bdr of a database to the version that this program knows.
#pragma once

#include "absl/status/status.h"
#include "postgres/connection.h"

namespace bdr::postgres {

// The version that Migrate() leads to.
int LatestSchemaVersion();

// Runs each migration that bdr.schema_version does not name yet, each in a transaction of its own
// and one caller at a time. Repeating it is harmless, also at once from many connections; a
// failure leaves the database at the last version reached.
//
// The schema itself is made by the administrator, with the agent's role as its owner.
// kFailedPrecondition if it is missing or not ours, if a newer program has already migrated it, or
// if the connection is inside a transaction.
absl::Status Migrate(Connection& connection);

}  // namespace bdr::postgres
