// The migrations that bring schema bdr of a database to the version that this program knows.
#pragma once

#include <string>

namespace bdr::postgres {

// The version that they lead to.
int LatestSchemaVersion();

// Statements that run each migration which bdr.schema_version does not name yet, for a superuser
// inside of one transaction, with search_path pg_catalog, pg_temp and one caller at a time. The
// schema has to be there. Repeating them is harmless; they fail where a newer program has already
// migrated it.
std::string MigrationsSql();

}  // namespace bdr::postgres
