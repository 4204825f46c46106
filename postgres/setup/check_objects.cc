// What does not replicate, or not as its owner may expect. Each query gives (what, remedy) rows, so
// that the remedy is written by PostgreSQL's own quoting.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "postgres/setup/checks.h"

namespace bdr::pg_setup {
namespace {

// The replica identity may be switched off, or a usable unique index may stand ready; else only
// whoever designed the table knows its key.
constexpr char kWithoutKey[] = R"sql(
    SELECT format('table %s has no key that updates and deletes could travel with: only inserts '
                  'replicate', w.oid::regclass),
           CASE WHEN c.relkind <> 'r' THEN ''
                WHEN c.relreplident IN ('n', 'i') AND EXISTS
                     (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary
                                               AND i.indimmediate)
                THEN format('ALTER TABLE %s REPLICA IDENTITY DEFAULT', w.oid::regclass)
                ELSE coalesce((
                    SELECT format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I', w.oid::regclass,
                                  x.relname)
                    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                    WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid
                      AND i.indpred IS NULL AND i.indexprs IS NULL
                      AND NOT EXISTS (SELECT FROM pg_attribute a
                                      WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
                                        AND NOT a.attnotnull)
                    ORDER BY x.relname LIMIT 1), '')
           END
    FROM wanted w JOIN pg_class c ON c.oid = w.oid
    WHERE w.publication = 'bdr_insert_only' ORDER BY 1)sql";

constexpr char kDeferrable[] = R"sql(
    SELECT format('constraint %I of table %s is deferrable: it is not checked during apply, which '
                  'locks the table instead', n.conname, n.conrelid::regclass),
           CASE WHEN n.contype = 'x' THEN '' ELSE
           format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %I %s', n.conrelid::regclass,
                  n.conname, n.conname,
                  regexp_replace(pg_get_constraintdef(n.oid), ' DEFERRABLE( INITIALLY DEFERRED)?$',
                                 '')) END
    FROM wanted w JOIN pg_constraint n ON n.conrelid = w.oid
    WHERE n.condeferrable AND n.contype IN ('p', 'u', 'x') ORDER BY 1)sql";

constexpr char kExclusion[] = R"sql(
    SELECT format('exclusion constraint %I of table %s: rows of two nodes that exclude each other '
                  'stop apply', n.conname, n.conrelid::regclass), ''
    FROM wanted w JOIN pg_constraint n ON n.conrelid = w.oid
    WHERE n.contype = 'x' ORDER BY 1)sql";

constexpr char kRowSecurity[] = R"sql(
    SELECT format('table %s has row security: it does not restrict what replicates',
                  w.oid::regclass), ''
    FROM wanted w JOIN pg_class c ON c.oid = w.oid WHERE c.relrowsecurity ORDER BY 1)sql";

constexpr char kTriggers[] = R"sql(
    SELECT format('trigger %I of table %s is ENABLE %s: it also fires when changes of other nodes '
                  'are applied, with the rights of the agent', t.tgname, t.tgrelid::regclass,
                  CASE t.tgenabled WHEN 'A' THEN 'ALWAYS' ELSE 'REPLICA' END),
           format('ALTER TABLE %s ENABLE TRIGGER %I', t.tgrelid::regclass, t.tgname)
    FROM wanted w CROSS JOIN LATERAL (SELECT w.oid AS relid
                                      UNION SELECT relid::oid FROM pg_partition_tree(w.oid)) p
    JOIN pg_trigger t ON t.tgrelid = p.relid
    WHERE t.tgenabled IN ('A', 'R') AND NOT t.tgisinternal ORDER BY 1)sql";

constexpr char kRules[] = R"sql(
    SELECT format('rule %I of table %s is ENABLE %s: it also fires when changes of other nodes are '
                  'applied, with the rights of the agent%s', r.rulename, w.oid::regclass,
                  CASE r.ev_enabled WHEN 'A' THEN 'ALWAYS' ELSE 'REPLICA' END,
                  CASE r.ev_type WHEN '3' THEN '; and inserts of other nodes stop apply, since '
                    'PostgreSQL refuses INSERT ... ON CONFLICT' ELSE '' END),
           format('ALTER TABLE %s ENABLE RULE %I', w.oid::regclass, r.rulename)
    FROM wanted w JOIN pg_rewrite r ON r.ev_class = w.oid
    WHERE r.ev_type IN ('2', '3', '4') AND r.ev_enabled IN ('A', 'R')
    UNION ALL
    SELECT format('rule %I of table %s is ON UPDATE: PostgreSQL refuses INSERT ... ON CONFLICT, so '
                  'what apply inserts at the same moment as a user is tried again',
                  r.rulename, w.oid::regclass), ''
    FROM wanted w JOIN pg_rewrite r ON r.ev_class = w.oid
    WHERE r.ev_type = '2' AND r.ev_enabled NOT IN ('A', 'R') ORDER BY 1)sql";

constexpr char kUnlogged[] = R"sql(
    SELECT format('table %s is unlogged: it does not replicate', c.oid::regclass),
           format('ALTER TABLE %s SET LOGGED', c.oid::regclass)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence = 'u' AND n.nspname NOT IN ('bdr', 'information_schema')
      AND n.nspname NOT LIKE 'pg\_%' ORDER BY 1)sql";

constexpr char kIdentityAlways[] = R"sql(
    SELECT format('column %I of table %s is GENERATED ALWAYS AS IDENTITY: an update of it by '
                  'another node cannot be applied', a.attname, w.oid::regclass),
           format('ALTER TABLE %s ALTER COLUMN %I SET GENERATED BY DEFAULT', w.oid::regclass,
                  a.attname)
    FROM wanted w JOIN pg_attribute a ON a.attrelid = w.oid
    WHERE a.attidentity = 'a' AND NOT a.attisdropped
      AND NOT EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
                      WHERE i.indrelid = w.oid AND a.attnum = ANY (i.indkey)
                        AND CASE c.relreplident WHEN 'i' THEN i.indisreplident
                                                ELSE i.indisprimary END)
    ORDER BY 1)sql";

// With publish_via_partition_root pgoutput leaves the TRUNCATE of a partition out.
constexpr char kPartitions[] = R"sql(
    SELECT format('table %s is partitioned: TRUNCATE of one of its partitions does not replicate, '
                  'of the whole table it does; DELETE replicates always', w.oid::regclass), ''
    FROM wanted w JOIN pg_class c ON c.oid = w.oid WHERE c.relkind = 'p' ORDER BY 1)sql";

// Of a partitioned table the partition's identity decides what comes into the WAL, and the root's,
// under which it is published, what pgoutput makes of it: both have to be FULL.
// Asked of the TOAST table's size rather than of the column types: text columns are everywhere,
// values that are stored out of line are not.
constexpr char kToast[] = R"sql(
    , stored AS MATERIALIZED (
        SELECT p.root, p.oid FROM tree p JOIN pg_class l ON l.oid = p.oid
        WHERE l.relkind = 'r' AND l.reltoastrelid <> 0 AND pg_relation_size(l.reltoastrelid) > 0
    )
    SELECT format('table %s has values stored out of line (TOAST)%s: updates carry them only with '
                  'REPLICA IDENTITY FULL, else they are fetched when a conflict needs them',
                  c.oid::regclass,
                  CASE c.relkind WHEN 'p' THEN ' in its partitions' ELSE '' END),
           format('ALTER TABLE %s REPLICA IDENTITY FULL', c.oid::regclass)
    FROM wanted w JOIN (SELECT root, oid FROM stored UNION SELECT root, root FROM stored) s
                    ON s.root = w.oid
    JOIN pg_class c ON c.oid = s.oid
    WHERE w.publication = 'bdr_keyed' AND c.relreplident <> 'f'
    ORDER BY 1)sql";

// Until then every value is one of those of its node: N modulo 100.
constexpr char kSequences[] = R"sql(
    , filled AS (
        SELECT w.oid, a.attname,
               COALESCE(pg_get_serial_sequence(w.oid::regclass::text, a.attname)::regclass,
                        (SELECT s.oid::regclass FROM pg_depend p JOIN pg_class s ON s.oid = p.refobjid
                          WHERE p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid
                            AND p.refclassid = 'pg_class'::regclass AND s.relkind = 'S' LIMIT 1))
                   AS sequence
        FROM wanted w JOIN pg_attribute a ON a.attrelid = w.oid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE NOT a.attisdropped AND a.attnum > 0
          AND (a.attidentity <> '' OR pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%')
          AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = w.oid AND i.indisunique
                                               AND a.attnum = ANY (i.indkey)))
    SELECT format('column %I of table %s takes its values from a sequence that every node counts '
                  'for itself: nodes hand out equal keys, and one row then replaces the other',
                  f.attname, f.oid::regclass),
           CASE WHEN f.sequence IS NULL THEN '' ELSE
           format('ALTER SEQUENCE %s INCREMENT BY 100; SELECT setval(%L, (SELECT last_value / 100 * '
                  '100 + 100 FROM %s) + N)  -- on every node, N being its id (bdrctl node list), '
                  'below 100; or once: bdrctl sequence convert', f.sequence, f.sequence::text,
                  f.sequence) END
    FROM filled f LEFT JOIN pg_sequence q ON q.seqrelid = f.sequence
    WHERE q.seqincrement IS DISTINCT FROM 100 @NOT_CONVERTED@
    ORDER BY 1)sql";

constexpr char kNotConverted[] =
    "AND NOT EXISTS (SELECT FROM bdr.sequence b WHERE b.relation = f.sequence)";

constexpr char kLeftOut[] = R"sql(
    SELECT format('table %I.%I does not replicate: %s; %s', nspname, relname, why, remedy), ''
    FROM left_out ORDER BY 1)sql";

constexpr char kLargeObjects[] = R"sql(
    SELECT format('%s large objects: they do not replicate', count(*)), ''
    FROM pg_largeobject_metadata HAVING count(*) > 0)sql";

constexpr char kSubscriptions[] = R"sql(
    SELECT format('subscription %I also writes here: what it brings is not passed on to other '
                  'nodes', s.subname),
           format('ALTER SUBSCRIPTION %I DISABLE', s.subname)
    FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
    WHERE d.datname = current_database() AND s.subenabled ORDER BY 1)sql";

}  // namespace

absl::Status CheckObjects(postgres::Connection& connection, Findings& findings) {
  ASSIGN_OR_RETURN(const std::string ctes, TablesCtes(connection));
  // Before the database is set up there is no such table, or the role may not see it.
  ASSIGN_OR_RETURN(
      const std::string set_up,
      connection.QueryValue(
          "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
          " WHERE n.nspname = 'bdr' AND c.relname = 'sequence' AND c.relkind = 'r'"
          " AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))"));
  const std::string sequences =
      absl::StrReplaceAll(kSequences, {{"@NOT_CONVERTED@", set_up == "t" ? kNotConverted : ""}});
  for (const std::string& sql :
       std::vector<std::string>{kLeftOut, kWithoutKey, kDeferrable, kExclusion, kRowSecurity,
                                kTriggers, kRules, kUnlogged, kIdentityAlways, kPartitions, kToast,
                                sequences, kLargeObjects, kSubscriptions}) {
    ASSIGN_OR_RETURN(const postgres::Result rows,
                     connection.Exec(absl::StrCat("WITH ", ctes, sql)));
    for (int i = 0; i < rows.rows(); ++i) {
      findings.Warning(std::string(rows.value(i, 0)), std::string(rows.value(i, 1)));
    }
  }
  return absl::OkStatus();
}

}  // namespace bdr::pg_setup
