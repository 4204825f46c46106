// Which tables belong into which publication, as SQL: one definition for bdr.sync_publications(),
// which puts them there, and for the node check, which looks whether they are.
#pragma once

#include <string>

namespace bdr::pg_setup {

// Common table expressions, to follow WITH: wanted(oid, nspname, relname, publication) is how it
// should be, present(...) how it is; left_out(oid, nspname, relname, why, remedy) are tables with a
// key that cannot be replicated by it. Needs search_path = pg_catalog.
//
// A key has to be found by its bytes (CanonicalKeyValue() in postgres/catalog.h): `parts` and
// `unfit` say of which types it can. ColumnInfo::key_canonical says the same in C++, and a test
// holds the two together.
// @UNTRUSTED@ stands for rows of left_out.
inline constexpr char kPublishedTablesCtes[] = R"sql(identified AS (
            -- Relations of which the WAL carries the key with every update and delete.
            SELECT i.indrelid AS oid, i.indexrelid AS index
            FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
            WHERE i.indisvalid AND i.indisunique AND i.indimmediate AND i.indpred IS NULL
              AND CASE c.relreplident WHEN 'i' THEN i.indisreplident
                                      WHEN 'n' THEN false
                                      ELSE i.indisprimary END
        ), users AS (
            SELECT c.oid, n.nspname, c.relname
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'
              AND n.nspname NOT IN ('bdr', 'information_schema') AND n.nspname NOT LIKE 'pg\_%'
              AND NOT EXISTS (SELECT FROM pg_depend d
                              WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                                AND d.objsubid = 0 AND d.deptype = 'e')
        ), keys AS (
            SELECT u.oid, u.nspname, u.relname, a.attname, a.atttypid, a.attgenerated <> '' AS generated,
                   COALESCE(l.collisdeterministic, true) AS deterministic,
                   o.opcdefault OR o.opcname LIKE '%\_pattern\_ops' AS plain,
                   i.indisexclusion AS overlaps
            FROM users u JOIN identified d ON d.oid = u.oid
            JOIN pg_index i ON i.indexrelid = d.index
            CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indcollation::oid[], i.indclass::oid[])
                  WITH ORDINALITY AS e (attnum, coll, opclass, place)
            JOIN pg_attribute a ON a.attrelid = u.oid AND a.attnum = e.attnum
            JOIN pg_opclass o ON o.oid = e.opclass
            LEFT JOIN pg_collation l ON l.oid = e.coll
            WHERE e.place <= i.indnkeyatts
        ), parts AS (
            -- Types of keys, each with all that it is made of.
            WITH RECURSIVE part AS (
                SELECT DISTINCT atttypid AS whole, atttypid AS oid, true AS plain FROM keys
                UNION
                SELECT p.whole, m.oid, m.plain
                FROM part p JOIN pg_type t ON t.oid = p.oid CROSS JOIN LATERAL (
                    SELECT t.typbasetype AS oid, true AS plain WHERE t.typtype = 'd'
                    UNION ALL
                    SELECT t.typelem, true
                    WHERE t.typsubscript = 'array_subscript_handler'::regproc
                    UNION ALL
                    SELECT r.rngsubtype, COALESCE(l.collisdeterministic, true)
                                         AND (o.opcdefault OR o.opcname LIKE '%\_pattern\_ops')
                    FROM pg_range r JOIN pg_opclass o ON o.oid = r.rngsubopc
                    LEFT JOIN pg_collation l ON l.oid = r.rngcollation
                    WHERE r.rngtypid = t.oid
                    UNION ALL
                    SELECT r.rngtypid, true FROM pg_range r WHERE r.rngmultitypid = t.oid
                    UNION ALL
                    SELECT a.atttypid, COALESCE(l.collisdeterministic, true)
                    FROM pg_attribute a LEFT JOIN pg_collation l ON l.oid = a.attcollation
                    WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0
                      AND NOT a.attisdropped) m
            ) SELECT * FROM part
        ), unfit AS (
            SELECT DISTINCT p.whole AS oid
            FROM parts p JOIN pg_type t ON t.oid = p.oid
            LEFT JOIN pg_depend x ON x.classid = 'pg_type'::regclass AND x.objid = t.oid
                                 AND x.refclassid = 'pg_extension'::regclass AND x.deptype = 'e'
            LEFT JOIN pg_extension e ON e.oid = x.refobjid
            WHERE NOT p.plain OR (
                  t.typtype IN ('b', 'p')
                  AND (t.typsubscript <> 'array_subscript_handler'::regproc
                       OR t.oid IN (22, 30))  -- int2vector, oidvector: travel as text
                  -- Built-in types of which equal values have equal bytes, or can be given such.
                  AND t.oid NOT IN (16, 17, 18, 19, 20, 21, 23, 25, 26, 27, 650, 700, 701, 774,
                                    790, 829, 869, 1042, 1043, 1082, 1083, 1114, 1184, 1186, 1266,
                                    1560, 1562, 1700, 2950, 3220, 3614, 3802, 5069)
                  AND (e.extname = t.typname AND e.extname IN ('hstore', 'ltree')) IS NOT TRUE
                  -- Which letters are the same can be told where a libc locale says so.
                  AND (e.extname = t.typname AND e.extname = 'citext'
                       AND EXISTS (SELECT FROM pg_database d
                                       WHERE d.datname = current_database()
                                         AND d.datlocprovider = 'c'
                                         AND pg_encoding_to_char(d.encoding) = 'UTF8'))
                      IS NOT TRUE)
        ), composite AS (
            SELECT t.oid FROM pg_type t WHERE t.typtype = 'c'
            UNION
            SELECT d.oid FROM pg_type d JOIN pg_type t ON t.oid = d.typbasetype
            WHERE d.typtype = 'd' AND t.typtype = 'c'
        ), present AS (
            SELECT c.oid, n.nspname, c.relname, p.pubname::text AS publication
            FROM pg_publication_rel r
            JOIN pg_publication p ON p.oid = r.prpubid
            JOIN pg_class c ON c.oid = r.prrelid
            JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE p.pubname IN ('bdr_keyed', 'bdr_insert_only')
        ), unfit_keys AS (
            SELECT DISTINCT ON (k.oid) k.oid, k.nspname, k.relname,
                   CASE WHEN k.generated
                        THEN format('key column "%s" is generated, and generated values do not '
                                    'travel', k.attname)
                        WHEN k.overlaps
                        THEN 'its key is WITHOUT OVERLAPS, and compares ranges by whether they '
                             'overlap'
                        WHEN k.atttypid IN (SELECT oid FROM unfit)
                        THEN format('key column "%s" has type %s, of which equal values can differ '
                                    'in their bytes', k.attname, format_type(k.atttypid, NULL))
                        WHEN NOT k.deterministic
                        THEN format('key column "%s" has a collation by which different strings '
                                    'are equal', k.attname)
                        WHEN NOT k.plain
                        THEN format('key column "%s" is compared by an operator class of its own',
                                    k.attname)
                        WHEN k.atttypid IN (SELECT oid FROM composite)
                        THEN format('key column "%s" has composite type %s', k.attname,
                                    format_type(k.atttypid, NULL))
                        ELSE format('key column "%s" is an array, and a key travels as an array of '
                                    'its values', k.attname) END AS why,
                   CASE WHEN k.generated OR k.overlaps OR k.atttypid IN (SELECT oid FROM unfit) OR NOT k.plain
                             OR k.atttypid IN (SELECT oid FROM composite)
                        THEN 'give it another key (a primary key, or ALTER TABLE ... REPLICA '
                             'IDENTITY USING INDEX)'
                        WHEN NOT k.deterministic
                        THEN 'give the column a deterministic collation, or the table another key'
                        ELSE 'make the column of a domain over the array type, or give the table '
                             'another key' END AS remedy
            FROM keys k
            WHERE k.generated OR k.overlaps OR NOT k.deterministic OR NOT k.plain
               OR k.atttypid IN (SELECT oid FROM unfit)
               OR EXISTS (SELECT FROM pg_type t WHERE t.oid = k.atttypid
                          AND t.typsubscript = 'array_subscript_handler'::regproc
                          AND t.typarray = 0)
               OR k.atttypid IN (SELECT oid FROM composite)
            ORDER BY k.oid, k.attname
        ), left_out AS (
            SELECT * FROM unfit_keys
            UNION ALL
            SELECT u.oid, u.nspname, u.relname, @UNTRUSTED@
              AND u.oid NOT IN (SELECT oid FROM unfit_keys)
              AND u.oid NOT IN (SELECT oid FROM present)
        ), tree AS (
            -- Tables with their partitions. pg_partition_tree() would wait for locks on these.
            WITH RECURSIVE part AS (
                SELECT oid AS root, oid FROM users
                UNION
                SELECT p.root, h.inhrelid
                FROM part p JOIN pg_inherits h ON h.inhparent = p.oid
                JOIN pg_class l ON l.oid = h.inhrelid
                WHERE l.relispartition AND l.relkind IN ('r', 'p')
            ) SELECT * FROM part
        ), wanted AS (
            SELECT c.oid, c.nspname, c.relname,
                   -- Rows are logged with the replica identity of their own partition.
                   CASE WHEN c.oid IN (SELECT oid FROM identified)
                         AND NOT EXISTS (SELECT FROM tree p
                                         WHERE p.root = c.oid
                                           AND p.oid NOT IN (SELECT oid FROM identified))
                        THEN 'bdr_keyed' ELSE 'bdr_insert_only' END AS publication
            FROM users c WHERE c.oid NOT IN (SELECT oid FROM left_out)
        ), relatives AS (
            -- What foreign keys of published tables reference, and what references those.
            SELECT f.confrelid AS oid FROM wanted w JOIN pg_constraint f ON f.conrelid = w.oid
             WHERE f.contype = 'f'
            UNION
            SELECT f.conrelid FROM wanted w JOIN pg_constraint f ON f.confrelid = w.oid
             WHERE f.contype = 'f'
        ))sql";

// Tables with code whose owner is not trusted are left out; what is published already stays so, and
// apply says why it stops. Without schema bdr nobody can tell whom an administrator trusts.
inline constexpr char kUntrusted[] = R"sql(
                   format('code of role "%s" would run with the rights of the agent: %s', c.owner,
                          c.what),
                   format('take it away, or, if that role may be trusted with every replicated '
                          'table: SELECT bdr.trust_owner(%L)', c.owner)
              FROM users u CROSS JOIN LATERAL (SELECT * FROM bdr.untrusted_code(u.oid, false)
                                               LIMIT 1) c
             WHERE true)sql";
inline constexpr char kNobodyUntrusted[] = "'', '' FROM users u WHERE false";

inline std::string PublishedTablesCtes(bool schema_is_there = true) {
  std::string sql(kPublishedTablesCtes);
  const std::string place = "@UNTRUSTED@";
  sql.replace(sql.find(place), place.size(), schema_is_there ? kUntrusted : kNobodyUntrusted);
  return sql;
}

}  // namespace bdr::pg_setup
