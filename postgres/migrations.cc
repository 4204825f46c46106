#include "postgres/migrations.h"

#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "postgres/migrations_internal.h"

namespace bdr::postgres {
namespace internal {
namespace {

// Whoever holds this advisory lock migrates: "bdr" and "mig" in ASCII.
constexpr char kLockSql[] = "SELECT pg_catalog.pg_advisory_xact_lock(6448242, 7170407)";

// Each statement must see what the holder of the lock before us committed, so READ COMMITTED. The
// timeouts of role and database are for users; the one for locks makes a stuck session an error.
constexpr char kBeginSql[] =
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; "
    "SET LOCAL search_path = pg_catalog, pg_temp; "
    "SET LOCAL statement_timeout = 0; "
    "SET LOCAL lock_timeout = '60s'";

constexpr char kVersionTableSql[] =
    "CREATE TABLE IF NOT EXISTS bdr.schema_version ("
    "version int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT pg_catalog.now())";

constexpr char kSetupHint[] =
    "run \"bdrctl node setup-sql\" and have an administrator execute what it prints";

absl::Status CheckSchema(Connection& connection) {
  ASSIGN_OR_RETURN(const Result result,
                   connection.Exec("SELECT pg_catalog.has_schema_privilege(n.oid, 'CREATE'), "
                                   "current_user, pg_catalog.current_database() "
                                   "FROM (SELECT) one LEFT JOIN pg_catalog.pg_namespace n "
                                   "ON n.nspname = 'bdr'"));
  if (result.is_null(0, 0)) {
    return absl::FailedPreconditionError(
        absl::StrCat("database \"", result.value(0, 2), "\" has no schema \"bdr\": ", kSetupHint));
  }
  if (result.value(0, 0) != "t") {
    return absl::FailedPreconditionError(absl::StrCat("role \"", result.value(0, 1),
                                                      "\" may not create in schema \"bdr\" of "
                                                      "database \"",
                                                      result.value(0, 2), "\": ", kSetupHint));
  }
  return absl::OkStatus();
}

absl::StatusOr<int> CurrentVersion(Connection& connection) {
  // IF NOT EXISTS raises a notice each time; and only the owner may ask so.
  ASSIGN_OR_RETURN(
      const std::string exists,
      connection.QueryValue("SELECT pg_catalog.to_regclass('bdr.schema_version') IS NOT NULL"));
  if (exists != "t") RETURN_IF_ERROR(connection.Exec(kVersionTableSql).status());
  ASSIGN_OR_RETURN(
      const std::string text,
      connection.QueryValue("SELECT COALESCE(pg_catalog.max(version), 0) FROM bdr.schema_version"));
  int version = 0;
  if (!absl::SimpleAtoi(text, &version)) {
    return absl::InternalError(absl::StrCat("bdr.schema_version holds \"", text, "\""));
  }
  return version;
}

// Inside a transaction that holds the lock. True if something was done, so that there may be more.
absl::StatusOr<bool> RunNext(Connection& connection, absl::Span<const Migration> migrations) {
  ASSIGN_OR_RETURN(const int version, CurrentVersion(connection));
  const int latest = static_cast<int>(migrations.size());
  if (version > latest) {
    return absl::FailedPreconditionError(absl::StrCat(
        "schema \"bdr\" has version ", version, ", but this program knows versions up to ", latest,
        " only: install a bdr-agent at least as new as the one that was used before"));
  }
  if (version == latest) return false;
  const Migration& next = migrations[static_cast<size_t>(version)];
  const absl::Status done = connection.Exec(next.sql).status();
  if (!done.ok()) {
    absl::Status named(done.code(), absl::StrCat("migration \"", next.name,
                                                 "\" of schema \"bdr\": ", done.message()));
    done.ForEachPayload([&named](absl::string_view url, const absl::Cord& payload) {
      named.SetPayload(url, payload);
    });
    return named;
  }
  RETURN_IF_ERROR(connection
                      .Exec(absl::StrCat("INSERT INTO bdr.schema_version (version) VALUES (",
                                         next.version, ")"))
                      .status());
  return true;
}

absl::StatusOr<bool> Step(Connection& connection, absl::Span<const Migration> migrations) {
  RETURN_IF_ERROR(connection.Exec(kBeginSql).status());
  RETURN_IF_ERROR(connection.Exec(kLockSql).status());
  ASSIGN_OR_RETURN(const bool more, RunNext(connection, migrations));
  RETURN_IF_ERROR(connection.Exec("COMMIT").status());
  return more;
}

}  // namespace

absl::Status MigrateWith(Connection& connection, absl::Span<const Migration> migrations) {
  if (PQtransactionStatus(connection.raw()) != PQTRANS_IDLE && !connection.broken()) {
    return absl::FailedPreconditionError(
        "cannot migrate schema \"bdr\": the connection is inside a transaction");
  }
  RETURN_IF_ERROR(CheckSchema(connection));
  while (true) {
    const absl::StatusOr<bool> more = Step(connection, migrations);
    if (!more.ok()) {
      // The first error is the one to report; if this fails too, the connection is lost.
      connection.Exec("ROLLBACK").status().IgnoreError();
      return more.status();
    }
    if (!*more) return absl::OkStatus();
  }
}

}  // namespace internal

int LatestSchemaVersion() { return static_cast<int>(internal::AllMigrations().size()); }

absl::Status Migrate(Connection& connection) {
  return internal::MigrateWith(connection, internal::AllMigrations());
}

}  // namespace bdr::postgres
