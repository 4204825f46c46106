#include "postgres/migrations.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/substitute.h"
#include "postgres/migrations_internal.h"

namespace bdr::postgres {
namespace {

constexpr char kBegin[] = R"sql(
CREATE TABLE IF NOT EXISTS bdr.schema_version (
    version    int         PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);
DO $$bdr$$
BEGIN
    IF (SELECT max(version) FROM bdr.schema_version) > $0 THEN
        RAISE EXCEPTION 'schema bdr has version %, but this program knows versions up to $0 only',
                        (SELECT max(version) FROM bdr.schema_version)
            USING HINT = 'Take a bdrctl at least as new as the one that was used before.';
    END IF;
END $$bdr$$;
)sql";

constexpr char kStep[] = R"sql(
-- $1
DO $$bdr_step$$
BEGIN
    IF NOT EXISTS (SELECT FROM bdr.schema_version WHERE version >= $0) THEN
        EXECUTE $$bdr_migration$$
$2$$bdr_migration$$;
        INSERT INTO bdr.schema_version (version) VALUES ($0);
    END IF;
END $$bdr_step$$;
)sql";

}  // namespace

int LatestSchemaVersion() { return static_cast<int>(internal::AllMigrations().size()); }

std::string MigrationsSql() {
  std::string sql = absl::Substitute(kBegin, LatestSchemaVersion());
  for (const internal::Migration& migration : internal::AllMigrations()) {
    absl::StrAppend(&sql,
                    absl::Substitute(kStep, migration.version, migration.name, migration.sql));
  }
  return sql;
}

}  // namespace bdr::postgres
