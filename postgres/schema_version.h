// Whether schema bdr of a database is the one that this program knows.
#pragma once

#include "absl/status/status.h"
#include "postgres/connection.h"

namespace bdr::postgres {

// kFailedPrecondition, saying what to do, if the schema is missing, older or newer: a superuser
// makes and migrates it with what "bdrctl node setup-sql" prints.
absl::Status CheckSchemaVersion(Connection& connection);

}  // namespace bdr::postgres
