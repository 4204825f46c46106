#include "postgres/setup/setup_sql.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "postgres/migrations.h"
#include "postgres/setup/published_tables_sql.h"
#include "seqam/install_sql.h"

namespace bdr::pg_setup {
namespace {

// @ROLE@ stands for the quoted identifier, @ROLE_LITERAL@ for the quoted string.
constexpr absl::string_view kTransaction =
    R"sql(-- Prepares this database as a node of a bdr cluster. Run it once as a superuser:
--
--     psql -X -v ON_ERROR_STOP=1 -d DATABASE -f setup.sql
--
-- Running it again is harmless. It sets no password: give the role one with
--     \password @ROLE_PLAIN@
-- (and put it into the agent's ~/.pgpass), or let it in by pg_hba.conf in another way.

BEGIN;
-- Not "wal_level is insufficient": the settings come last.
SET LOCAL client_min_messages = error;
SET LOCAL search_path = pg_catalog, pg_temp;

-- The agent's role. Not a superuser: all that it may do stands in this file.
DO $bdr$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = @ROLE_LITERAL@ AND rolsuper) THEN
        RAISE EXCEPTION 'role % is a superuser: choose another role for the agent', @ROLE_LITERAL@
            USING HINT = 'Run "bdrctl node setup-sql --role NAME".';
    ELSIF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = @ROLE_LITERAL@) THEN
        ALTER ROLE @ROLE@ LOGIN REPLICATION BYPASSRLS INHERIT;
    ELSE
        CREATE ROLE @ROLE@ LOGIN REPLICATION BYPASSRLS INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE;
    END IF;
    EXECUTE pg_catalog.format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO @ROLE@',
                              pg_catalog.current_database());
END $bdr$;

-- Watching replication. Rows are read and written by rights on each table that is published, which
-- bdr.sync_publications() gives.
GRANT pg_monitor TO @ROLE@;
REVOKE pg_read_all_data, pg_write_all_data FROM @ROLE@;

-- Apply marks its transactions by origin, and runs as replica so that users' triggers and foreign
-- keys, which have fired at the origin already, do not fire again. A low deadlock_timeout makes it
-- the victim of a deadlock instead of a user.
GRANT SET ON PARAMETER session_replication_role, deadlock_timeout TO @ROLE@;
DO $bdr$
DECLARE
    f pg_catalog.regprocedure;
BEGIN
    FOR f IN SELECT oid FROM pg_catalog.pg_proc
             WHERE pronamespace = 'pg_catalog'::pg_catalog.regnamespace
               AND (proname LIKE 'pg\_replication\_origin\_%'
                    OR proname = 'pg_show_replication_origin_status')
    LOOP
        EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO @ROLE@', f);
    END LOOP;
END $bdr$;

-- Schema bdr, in which the agent keeps its own tables. It belongs to whoever runs this, as does all
-- that is in it: the agent's role can change nothing here that an administrator calls.
CREATE SCHEMA IF NOT EXISTS bdr;
ALTER SCHEMA bdr OWNER TO CURRENT_USER;
REVOKE ALL ON SCHEMA bdr FROM PUBLIC, @ROLE@;
GRANT USAGE ON SCHEMA bdr TO @ROLE@;
DO $bdr$
DECLARE
    o record;
BEGIN
    PERFORM pg_advisory_xact_lock(6448242, 7170407);  -- "bdr" and "mig" in ASCII
    FOR o IN SELECT format('TABLE %s', oid::regclass) AS name FROM pg_class
              WHERE relnamespace = 'bdr'::regnamespace AND relkind = 'r'
                AND relowner <> CURRENT_USER::regrole
             UNION ALL
             SELECT format('FUNCTION %s', oid::regprocedure) FROM pg_proc
              WHERE pronamespace = 'bdr'::regnamespace AND proowner <> CURRENT_USER::regrole
    LOOP
        EXECUTE format('ALTER %s OWNER TO CURRENT_USER', o.name);
    END LOOP;
END $bdr$;
@MIGRATIONS@
REVOKE ALL ON ALL TABLES IN SCHEMA bdr FROM PUBLIC, @ROLE@;
GRANT SELECT ON bdr.schema_version TO @ROLE@;
GRANT SELECT, INSERT ON bdr.node TO @ROLE@;
GRANT SELECT, INSERT, UPDATE, DELETE
    ON bdr.progress, bdr.conflict_log, bdr.dead_letter, bdr.dead_letter_part, bdr.fk_action
    TO @ROLE@;
-- Of all that is in it everybody may call what draws from sequences, and read what that reads, and
-- what else PostgreSQL's own catalogs show to everybody.
GRANT USAGE ON SCHEMA bdr TO PUBLIC;
GRANT SELECT ON bdr.sequence, bdr.sequence_cap, bdr.trusted_owner TO PUBLIC;
@SEQUENCES@

-- Tables with a key travel with all their changes. Of tables without one only INSERT and TRUNCATE
-- do: publishing more would make the users' own UPDATE and DELETE on them fail.
DO $bdr$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = 'bdr_keyed') THEN
        CREATE PUBLICATION bdr_keyed;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = 'bdr_insert_only') THEN
        CREATE PUBLICATION bdr_insert_only;
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_publication
               WHERE pubname IN ('bdr_keyed', 'bdr_insert_only') AND puballtables) THEN
        RAISE EXCEPTION 'publication bdr_keyed or bdr_insert_only is FOR ALL TABLES'
            USING HINT = 'Drop it and run this script again.';
    END IF;
END $bdr$;
ALTER PUBLICATION bdr_keyed
    SET (publish = 'insert, update, delete, truncate', publish_via_partition_root = true);
ALTER PUBLICATION bdr_insert_only
    SET (publish = 'insert, truncate', publish_via_partition_root = true);

-- Puts every user table into the publication that fits it, takes out what fits no more, and lets
-- the agent read and write what is published. Names what it leaves out. Run it again after tables or keys were added:
--     SELECT bdr.sync_publications();
CREATE OR REPLACE FUNCTION bdr.sync_publications() RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    todo record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('bdr.sync_publications', 0));
    FOR todo IN
        WITH @PUBLISHED_TABLES@
        SELECT 1 AS step, format('ALTER PUBLICATION %I DROP TABLE ONLY %I.%I', publication, nspname,
                                 relname) AS statement
        FROM (SELECT * FROM present EXCEPT SELECT * FROM wanted) gone
        UNION ALL
        SELECT 2, format('ALTER PUBLICATION %I ADD TABLE ONLY %I.%I', publication, nspname, relname)
        FROM (SELECT * FROM wanted EXCEPT SELECT * FROM present) missing
        UNION ALL
        SELECT 3, format('GRANT USAGE ON SCHEMA %I TO %I', nspname, @ROLE_LITERAL@)
        FROM pg_namespace
        WHERE nspname NOT IN ('bdr', 'information_schema') AND nspname NOT LIKE 'pg\_%'
          AND NOT has_schema_privilege(@ROLE_LITERAL@, oid, 'USAGE')
        UNION ALL
        -- Partitions, too: their own unique indexes are looked at there, and TRUNCATE asks for each.
        SELECT 4, format('GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON TABLE %s TO %I',
                         t.oid::regclass, @ROLE_LITERAL@)
        FROM wanted w JOIN tree t ON t.root = w.oid
        WHERE EXISTS (SELECT FROM unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE}'::text[]) AS p
                      WHERE NOT has_table_privilege(@ROLE_LITERAL@, t.oid, p))
        UNION ALL
        -- To see whether what a foreign key references is there, and whether something references
        -- what is to be truncated.
        SELECT 5, format('GRANT SELECT ON TABLE %s TO %I', f.oid::regclass, @ROLE_LITERAL@)
        FROM relatives f
        WHERE f.oid NOT IN (SELECT oid FROM wanted)
          AND NOT has_table_privilege(@ROLE_LITERAL@, f.oid, 'SELECT')
        UNION ALL
        -- TRUNCATE ... RESTART IDENTITY; defaults of columns that a change does not bring.
        SELECT DISTINCT 6, format('GRANT USAGE, SELECT, UPDATE ON SEQUENCE %s TO %I',
                                  s.oid::regclass, @ROLE_LITERAL@)
        FROM wanted w JOIN pg_class t ON t.oid = w.oid
        CROSS JOIN LATERAL (
            SELECT d.objid AS oid FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
              AND d.refobjid = w.oid AND d.deptype IN ('a', 'i')
            UNION
            SELECT d.refobjid FROM pg_attrdef a JOIN pg_depend d
                ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
            WHERE a.adrelid = w.oid AND d.refclassid = 'pg_class'::regclass) q
        JOIN pg_class s ON s.oid = q.oid
        WHERE s.relkind = 'S' AND s.relowner = t.relowner
          AND NOT (has_sequence_privilege(@ROLE_LITERAL@, s.oid, 'USAGE')
                   AND has_sequence_privilege(@ROLE_LITERAL@, s.oid, 'SELECT')
                   AND has_sequence_privilege(@ROLE_LITERAL@, s.oid, 'UPDATE'))
        ORDER BY 1, 2
    LOOP
        EXECUTE todo.statement;
        RETURN NEXT todo.statement;
    END LOOP;
    FOR todo IN
        WITH @PUBLISHED_TABLES@
        SELECT format('%I.%I does not replicate: %s', nspname, relname, why) AS message, remedy
        FROM left_out ORDER BY 1
    LOOP
        RAISE WARNING '%', todo.message USING HINT = todo.remedy;
        RETURN NEXT format('-- %s; %s', todo.message, todo.remedy);
    END LOOP;
END $bdr$;

-- Lets nobody write a user's table until the transaction ends: while it is being published, the
-- agent has no rights on it yet.
CREATE OR REPLACE FUNCTION bdr.keep_writers_out(relation oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    name text := (SELECT format('%I.%I', n.nspname, c.relname)
                  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE c.oid = relation AND c.relkind IN ('r', 'p')
                    AND n.nspname NOT IN ('bdr', 'information_schema')
                    AND n.nspname NOT LIKE 'pg\_%');
BEGIN
    IF name IS NOT NULL THEN
        EXECUTE format('LOCK TABLE %s IN SHARE MODE', name);
    END IF;
END $bdr$;
REVOKE ALL ON FUNCTION bdr.sync_publications(), bdr.keep_writers_out(oid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bdr.sync_publications(), bdr.keep_writers_out(oid) TO @ROLE@;
SELECT bdr.sync_publications();

COMMIT;
)sql";

constexpr absl::string_view kNumberWarning = R"sql(
-- Two limits, only looked at: setting them blindly could lower them.
DO $bdr$
DECLARE
    s record;
BEGIN
    FOR s IN SELECT * FROM (VALUES ('max_replication_slots', @SLOTS@),
                                   ('max_wal_senders', @SENDERS@)) AS w (name, wanted)
             WHERE pg_catalog.current_setting(name)::int < wanted
    LOOP
        RAISE WARNING '% is %, which is little for a cluster', s.name,
                      pg_catalog.current_setting(s.name)
            USING HINT = pg_catalog.format('ALTER SYSTEM SET %s = %s, then restart PostgreSQL.',
                                           s.name, s.wanted);
    END LOOP;
END $bdr$;
)sql";

constexpr absl::string_view kSettingsHeader =
    "\n-- Settings of the server. They take effect with the next restart of PostgreSQL, and cannot "
    "run\n-- inside a transaction block (so not with psql -1 either).\n";

absl::Status CheckRoleName(absl::string_view role) {
  const bool clean = std::all_of(role.begin(), role.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-';
  });
  if (role.empty() || role.size() > 63 || !clean) {
    return absl::InvalidArgumentError(absl::StrCat(
        "role name \"", role,
        "\" cannot be used: take 1 to 63 letters, digits, '_' or '-', such as \"bdr\""));
  }
  if (absl::StartsWith(role, "pg_") || role == "public" || role == "none") {
    return absl::InvalidArgumentError(
        absl::StrCat("role name \"", role, "\" is reserved by PostgreSQL: take another"));
  }
  return absl::OkStatus();
}

std::string SettingsSql(const std::optional<ServerSettings>& current) {
  std::vector<std::string> statements;
  if (!current.has_value() || current->wal_level != "logical") {
    statements.push_back("ALTER SYSTEM SET wal_level = 'logical';\n");
  }
  if (!current.has_value() || !current->track_commit_timestamp) {
    statements.push_back("ALTER SYSTEM SET track_commit_timestamp = 'on';\n");
  }
  if (current.has_value() && current->max_replication_slots < kWantedReplicationSlots) {
    statements.push_back(
        absl::StrCat("ALTER SYSTEM SET max_replication_slots = ", kWantedReplicationSlots, ";\n"));
  }
  if (current.has_value() && current->max_wal_senders < kWantedWalSenders) {
    statements.push_back(
        absl::StrCat("ALTER SYSTEM SET max_wal_senders = ", kWantedWalSenders, ";\n"));
  }
  if (statements.empty()) return "";
  std::string sql(kSettingsHeader);
  for (const std::string& statement : statements) absl::StrAppend(&sql, statement);
  return sql;
}

}  // namespace

absl::StatusOr<std::string> SetupSql(const SetupOptions& options) {
  RETURN_IF_ERROR(CheckRoleName(options.role));
  std::string sql(kTransaction);
  if (!options.current.has_value()) absl::StrAppend(&sql, kNumberWarning);
  if (options.settings) absl::StrAppend(&sql, SettingsSql(options.current));
  // The name has passed CheckRoleName(), so no quote in it needs doubling.
  return absl::StrReplaceAll(sql, {{"@PUBLISHED_TABLES@", PublishedTablesCtes()},
                                   {"@MIGRATIONS@", postgres::MigrationsSql()},
                                   {"@SEQUENCES@", seqam::InstallSql()},
                                   {"@ROLE@", absl::StrCat("\"", options.role, "\"")},
                                   {"@ROLE_LITERAL@", absl::StrCat("'", options.role, "'")},
                                   {"@ROLE_PLAIN@", options.role},
                                   {"@SLOTS@", absl::StrCat(kWantedReplicationSlots)},
                                   {"@SENDERS@", absl::StrCat(kWantedWalSenders)}});
}

}  // namespace bdr::pg_setup
