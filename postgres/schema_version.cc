#include "postgres/schema_version.h"

#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "postgres/migrations.h"

namespace bdr::postgres {

absl::Status CheckSchemaVersion(Connection& connection) {
  constexpr char kSetup[] =
      "have a superuser run what \"bdrctl node setup-sql\" of this version prints";
  ASSIGN_OR_RETURN(
      const Result known,
      connection.Exec("SELECT pg_catalog.to_regclass('bdr.schema_version') IS NOT NULL AND "
                      "pg_catalog.has_table_privilege(pg_catalog.to_regclass("
                      "'bdr.schema_version'), 'SELECT'), pg_catalog.current_database()"));
  if (known.value(0, 0) != "t") {
    return absl::FailedPreconditionError(
        absl::StrCat("database \"", known.value(0, 1),
                     "\" has no schema \"bdr\" that this role may use: ", kSetup));
  }
  ASSIGN_OR_RETURN(
      const std::string text,
      connection.QueryValue("SELECT COALESCE(pg_catalog.max(version), 0) FROM bdr.schema_version"));
  int version = 0;
  if (!absl::SimpleAtoi(text, &version)) {
    return absl::InternalError(absl::StrCat("bdr.schema_version holds \"", text, "\""));
  }
  const int latest = LatestSchemaVersion();
  if (version < latest) {
    return absl::FailedPreconditionError(absl::StrCat(
        "schema \"bdr\" has version ", version, ", and this program needs ", latest, ": ", kSetup));
  }
  if (version > latest) {
    return absl::FailedPreconditionError(absl::StrCat(
        "schema \"bdr\" has version ", version, ", but this program knows versions up to ", latest,
        " only: install a bdr-agent at least as new as the one that was used before"));
  }
  return absl::OkStatus();
}

}  // namespace bdr::postgres
