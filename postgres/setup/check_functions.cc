// Functions that name things without a schema. Users find those by their search_path; where the
// agent applies rows there is nothing on it but pg_catalog, since with anything else whoever may
// create objects there could have the agent run them. So such a function fails in apply, though it
// works for those who write the rows.
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "postgres/setup/checks.h"

namespace bdr::pg_setup {
namespace {

// What runs while a row is applied: checks of tables and domains, generated columns, indexes, and
// triggers that fire there. Bodies are searched for names of users' objects as whole words without
// a schema in front: a comment may cost a warning, and a name that is put together is not found.
constexpr char kUnqualified[] = R"sql(, used AS (
        SELECT d.refobjid AS fn, format('constraint %I of table %s', n.conname, n.conrelid::regclass) AS by
        FROM wanted w JOIN pg_constraint n ON n.conrelid = w.oid AND n.contype = 'c'
        JOIN pg_depend d ON d.classid = 'pg_constraint'::regclass AND d.objid = n.oid
        WHERE d.refclassid = 'pg_proc'::regclass
        UNION
        SELECT d.refobjid, format('constraint %I of domain %s', n.conname, n.contypid::regtype)
        FROM pg_constraint n
        JOIN pg_depend d ON d.classid = 'pg_constraint'::regclass AND d.objid = n.oid
        WHERE n.contypid <> 0 AND d.refclassid = 'pg_proc'::regclass
        UNION
        SELECT d.refobjid, format('generated column %I of table %s', a.attname, w.oid::regclass)
        FROM wanted w JOIN pg_attrdef e ON e.adrelid = w.oid
        JOIN pg_attribute a ON a.attrelid = e.adrelid AND a.attnum = e.adnum AND a.attgenerated <> ''
        JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = e.oid
        WHERE d.refclassid = 'pg_proc'::regclass
        UNION
        SELECT d.refobjid, format('index %s', i.indexrelid::regclass)
        FROM wanted w JOIN pg_index i ON i.indrelid = w.oid
        JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
        WHERE d.refclassid = 'pg_proc'::regclass
        UNION
        SELECT t.tgfoid, format('trigger %I of table %s', t.tgname, t.tgrelid::regclass)
        FROM wanted w JOIN pg_trigger t ON t.tgrelid = w.oid
        WHERE t.tgenabled IN ('A', 'R') AND NOT t.tgisinternal
    ), plain AS (
        SELECT p.oid, p.prosrc, min(u.by) AS by
        FROM used u JOIN pg_proc p ON p.oid = u.fn JOIN pg_language l ON l.oid = p.prolang
        WHERE l.lanname NOT IN ('c', 'internal') AND p.prosqlbody IS NULL
          AND p.pronamespace <> 'pg_catalog'::regnamespace
          AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search\_path=%')
        GROUP BY p.oid, p.prosrc
    ), things AS (
        SELECT relnamespace AS nsp, relname::text AS name FROM pg_class
        WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        UNION SELECT pronamespace, proname FROM pg_proc
        UNION SELECT typnamespace, typname FROM pg_type WHERE typtype IN ('d', 'e', 'r')
    ), unqualified AS (
        SELECT p.oid, p.by, min(t.name) AS name, array_agg(DISTINCT quote_ident(n.nspname)) AS schemas
        FROM plain p JOIN things t ON strpos(lower(p.prosrc), lower(t.name)) > 0
        JOIN pg_namespace n ON n.oid = t.nsp
        WHERE n.nspname NOT IN ('bdr', 'information_schema') AND n.nspname NOT LIKE 'pg\_%'
          AND p.prosrc ~* ('(^|[^\w."])"?' || regexp_replace(t.name, '(\W)', '\\\1', 'g') || '\M')
        GROUP BY p.oid, p.by
    )
    SELECT format('function %s, called by %s, names %I without its schema: users find it by their '
                  'search_path, apply runs with pg_catalog alone and stops', oid::regprocedure, by, name),
           format('ALTER FUNCTION %s SET search_path = %s', oid::regprocedure,
                  array_to_string(schemas || '{pg_temp}'::text[], ', '))
    FROM unqualified ORDER BY 1)sql";

}  // namespace

absl::Status CheckFunctions(postgres::Connection& connection, Findings& findings) {
  ASSIGN_OR_RETURN(const std::string ctes, TablesCtes(connection));
  ASSIGN_OR_RETURN(const postgres::Result rows,
                   connection.Exec(absl::StrCat("WITH ", ctes, kUnqualified)));
  for (int i = 0; i < rows.rows(); ++i) {
    findings.Warning(std::string(rows.value(i, 0)), std::string(rows.value(i, 1)));
  }
  return absl::OkStatus();
}

}  // namespace bdr::pg_setup
