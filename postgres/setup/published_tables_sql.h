// Which tables belong into which publication, as SQL: one definition for bdr.sync_publications(),
// which puts them there, and for the node check, which looks whether they are.
#pragma once

namespace bdr::pg_setup {

// Common table expressions, to follow WITH: wanted(oid, nspname, relname, publication) is how it
// should be, present(...) how it is. Needs search_path = pg_catalog.
inline constexpr char kPublishedTablesCtes[] = R"sql(identified AS (
            -- Relations of which the WAL carries the key with every update and delete.
            SELECT i.indrelid AS oid
            FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
            WHERE i.indisvalid AND i.indisunique AND i.indimmediate AND i.indpred IS NULL
              AND CASE c.relreplident WHEN 'i' THEN i.indisreplident
                                      WHEN 'n' THEN false
                                      ELSE i.indisprimary END
        ), wanted AS (
            SELECT c.oid, n.nspname, c.relname,
                   -- Rows are logged with the replica identity of their own partition.
                   CASE WHEN c.oid IN (SELECT oid FROM identified)
                         AND NOT EXISTS (SELECT FROM pg_partition_tree(c.oid) p
                                         JOIN pg_class l ON l.oid = p.relid
                                         WHERE l.relkind IN ('r', 'p')
                                           AND l.oid NOT IN (SELECT oid FROM identified))
                        THEN 'bdr_keyed' ELSE 'bdr_insert_only' END AS publication
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'
              AND n.nspname NOT IN ('bdr', 'information_schema') AND n.nspname NOT LIKE 'pg\_%'
              AND NOT EXISTS (SELECT FROM pg_depend d
                              WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                                AND d.objsubid = 0 AND d.deptype = 'e')
        ), present AS (
            SELECT c.oid, n.nspname, c.relname, p.pubname::text AS publication
            FROM pg_publication_rel r
            JOIN pg_publication p ON p.oid = r.prpubid
            JOIN pg_class c ON c.oid = r.prrelid
            JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE p.pubname IN ('bdr_keyed', 'bdr_insert_only')
        ))sql";

}  // namespace bdr::pg_setup
