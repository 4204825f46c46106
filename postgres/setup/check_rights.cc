#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "postgres/setup/checks.h"

namespace bdr::pg_setup {
namespace {

using postgres::QuoteIdentifier;

// Rows of (met, name of the right, remedy).
absl::Status CheckRows(postgres::Connection& connection, const std::string& sql,
                       const std::string& role, Findings& findings) {
  const postgres::Param params[] = {{.data = role}};
  ASSIGN_OR_RETURN(const postgres::Result rows, connection.ExecParams(sql, params));
  for (int i = 0; i < rows.rows(); ++i) {
    findings.Require(rows.value(i, 0) == "t",
                     absl::StrCat("role \"", role, "\" has ", rows.value(i, 1)),
                     absl::StrCat("role \"", role, "\" lacks ", rows.value(i, 1)),
                     std::string(rows.value(i, 2)));
  }
  return absl::OkStatus();
}

// False if there is no such role, so that nothing else about it can be asked.
absl::StatusOr<bool> CheckAttributes(postgres::Connection& connection, const std::string& role,
                                     Findings& findings) {
  const postgres::Param params[] = {{.data = role}};
  ASSIGN_OR_RETURN(
      const postgres::Result row,
      connection.ExecParams("SELECT rolsuper, rolcanlogin, rolreplication, rolbypassrls "
                            "FROM pg_roles WHERE rolname = $1",
                            params));
  if (row.rows() == 0) {
    findings.Error(absl::StrCat("role \"", role, "\" does not exist"),
                   absl::StrCat("CREATE ROLE ", QuoteIdentifier(role),
                                " LOGIN REPLICATION BYPASSRLS NOSUPERUSER"));
    return false;
  }
  if (row.value(0, 0) == "t") {
    findings.Warning(absl::StrCat("role \"", role,
                                  "\" is a superuser: the agent needs less, see bdrctl node "
                                  "setup-sql"),
                     absl::StrCat("ALTER ROLE ", QuoteIdentifier(role), " NOSUPERUSER"));
  }
  constexpr const char* kAttributes[] = {"LOGIN", "REPLICATION", "BYPASSRLS"};
  for (int i = 0; i < 3; ++i) {
    findings.Require(row.value(0, i + 1) == "t",
                     absl::StrCat("role \"", role, "\" has attribute ", kAttributes[i]),
                     absl::StrCat("role \"", role, "\" lacks attribute ", kAttributes[i]),
                     absl::StrCat("ALTER ROLE ", QuoteIdentifier(role), " ", kAttributes[i]));
  }
  return true;
}

// The agent only calls these, in every version that it knows.
constexpr char kFunctions[] = R"sql(
    SELECT has_function_privilege($1::name, p.oid, 'EXECUTE'),
           format('EXECUTE on %s', p.oid::regprocedure),
           format('GRANT EXECUTE ON FUNCTION pg_catalog.%s TO %I', p.oid::regprocedure, $1::name)
    FROM pg_proc p
    WHERE p.pronamespace = 'pg_catalog'::regnamespace
      AND p.proname IN ('pg_replication_origin_create', 'pg_replication_origin_drop',
                        'pg_replication_origin_oid', 'pg_replication_origin_session_setup',
                        'pg_replication_origin_session_reset',
                        'pg_replication_origin_session_is_setup',
                        'pg_replication_origin_session_progress',
                        'pg_replication_origin_xact_setup', 'pg_replication_origin_xact_reset',
                        'pg_replication_origin_advance', 'pg_replication_origin_progress',
                        'pg_show_replication_origin_status')
    ORDER BY p.oid::regprocedure::text)sql";

constexpr char kMemberships[] = R"sql(
    SELECT pg_has_role($1::name, r.rolname, 'USAGE'), format('the rights of %s', r.rolname),
           format('GRANT %I TO %I', r.rolname, $1::name)
    FROM pg_roles r
    WHERE r.rolname = 'pg_monitor')sql";

// The rights of earlier versions, by which code of a table's owner reached every table.
constexpr char kTooMuch[] = R"sql(
    SELECT r.rolname FROM pg_roles r, pg_roles u
    WHERE r.rolname IN ('pg_read_all_data', 'pg_write_all_data') AND u.rolname = $1
      AND NOT u.rolsuper AND pg_has_role(u.oid, r.oid, 'USAGE') ORDER BY 1)sql";

constexpr char kParameters[] = R"sql(
    SELECT has_parameter_privilege($1::name, p, 'SET'), format('SET on parameter %s', p),
           format('GRANT SET ON PARAMETER %I TO %I', p, $1::name)
    FROM unnest(ARRAY['session_replication_role', 'deadlock_timeout']) AS p)sql";

constexpr char kDatabase[] = R"sql(
    SELECT has_database_privilege($1::name, current_database(), p),
           format('%s on database %I', p, current_database()),
           format('GRANT %s ON DATABASE %I TO %I', p, current_database(), $1::name)
    FROM unnest(ARRAY['CONNECT', 'TEMPORARY']) AS p)sql";

// What setup_sql.cc gives on the agent's own tables. A table that is missing is told of by the
// schema's version.
constexpr char kOwnTables[] = R"sql(
    SELECT has_table_privilege($1::name, c.oid, 'SELECT')
           AND (t.more IS NULL OR NOT EXISTS
                (SELECT FROM unnest(string_to_array(t.more, ', ')) AS p
                  WHERE NOT has_table_privilege($1::name, c.oid, p))),
           format('SELECT%s on table bdr.%I', ', ' || t.more, c.relname),
           format('GRANT SELECT%s ON bdr.%I TO %I', ', ' || t.more, c.relname, $1::name)
    FROM (VALUES ('schema_version', NULL), ('trusted_owner', NULL), ('node', 'INSERT'),
                 ('progress', 'INSERT, UPDATE, DELETE'), ('conflict_log', 'INSERT, UPDATE, DELETE'),
                 ('dead_letter', 'INSERT, UPDATE, DELETE'),
                 ('dead_letter_part', 'INSERT, UPDATE, DELETE'),
                 ('fk_action', 'INSERT, UPDATE, DELETE')) AS t(name, more)
    JOIN pg_class c ON c.relname = t.name
    JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'bdr'
    ORDER BY c.relname)sql";

// What a superuser calls lies there, so nobody else may change it.
constexpr char kSchema[] = R"sql(
    SELECT o.rolsuper AND NOT has_schema_privilege($1::name, n.oid, 'CREATE')
           AND NOT EXISTS (SELECT FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
                            WHERE c.relnamespace = n.oid AND NOT r.rolsuper)
           AND NOT EXISTS (SELECT FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner
                            WHERE p.pronamespace = n.oid AND NOT r.rolsuper)
           OR u.rolsuper,
           has_schema_privilege($1::name, n.oid, 'USAGE')
    FROM pg_namespace n JOIN pg_roles o ON o.oid = n.nspowner, pg_roles u
    WHERE n.nspname = 'bdr' AND u.rolname = $1)sql";

absl::Status CheckSchema(postgres::Connection& connection, const std::string& role,
                         Findings& findings) {
  const std::string setup =
      absl::StrCat("-- run the output of: bdrctl node setup-sql --role ", role);
  const postgres::Param params[] = {{.data = role}};
  ASSIGN_OR_RETURN(const postgres::Result row, connection.ExecParams(kSchema, params));
  if (row.rows() == 0) {
    findings.Error("schema bdr does not exist", setup);
    return absl::OkStatus();
  }
  findings.Require(row.value(0, 0) == "t", "schema bdr belongs to a superuser, with all in it",
                   "schema bdr, or something in it, belongs to a role that is no superuser", setup);
  findings.Require(row.value(0, 1) == "t",
                   absl::StrCat("role \"", role, "\" has USAGE on schema bdr"),
                   absl::StrCat("role \"", role, "\" lacks USAGE on schema bdr"), setup);
  return CheckRows(connection, kOwnTables, role, findings);
}

}  // namespace

absl::Status CheckRights(postgres::Connection& connection, const std::string& role,
                         Findings& findings) {
  ASSIGN_OR_RETURN(const bool exists, CheckAttributes(connection, role, findings));
  if (!exists) return absl::OkStatus();
  for (const char* sql : {kDatabase, kMemberships, kParameters, kFunctions}) {
    RETURN_IF_ERROR(CheckRows(connection, sql, role, findings));
  }
  const postgres::Param params[] = {{.data = role}};
  ASSIGN_OR_RETURN(const postgres::Result rows, connection.ExecParams(kTooMuch, params));
  for (int i = 0; i < rows.rows(); ++i) {
    findings.Warning(absl::StrCat("role \"", role, "\" has the rights of ", rows.value(i, 0),
                                  ", which the agent does not need"),
                     absl::StrCat("REVOKE ", rows.value(i, 0), " FROM ", QuoteIdentifier(role)));
  }
  return CheckSchema(connection, role, findings);
}

}  // namespace bdr::pg_setup
