-- Sequences whose numbers another method than PostgreSQL's own gives out; see seqam/.

-- One row for each that was converted on this node. What bdr.nextval() must see at every isolation
-- level lies in registers instead: sequences in this schema, which are outside of MVCC.
CREATE TABLE bdr.sequence (
    relation   regclass PRIMARY KEY,
    number     int      NOT NULL UNIQUE,  -- the same on every node, and never another's
    method     text     NOT NULL,
    node       int      NOT NULL,         -- whose numbers it gives out: this node's id
    register   regclass,                  -- the first that bdr.nextval() looks at
    parameters jsonb    NOT NULL DEFAULT '{}',
    -- As the sequence was before.
    data_type  regtype  NOT NULL,
    start      bigint   NOT NULL,
    min        bigint   NOT NULL,
    max        bigint   NOT NULL,
    increment  bigint   NOT NULL,
    cache      bigint   NOT NULL,
    cycle      boolean  NOT NULL
);

-- The MAXVALUE of sequences that are about to be converted, for as long as a lower one keeps them from
-- giving out what is the method's already.
CREATE TABLE bdr.sequence_cap (
    relation regclass PRIMARY KEY,
    max      bigint   NOT NULL
);

-- To whom UPDATE on a sequence is given back once its method allows for setval() again.
CREATE TABLE bdr.sequence_right (
    relation  regclass,
    grantee   oid,      -- 0: PUBLIC
    grantable boolean NOT NULL,
    PRIMARY KEY (relation, grantee)
);
REVOKE ALL ON bdr.sequence_right FROM PUBLIC;

-- Who moves a register locks its row here. Nobody but the functions that do so may: what any user
-- could lock he could lock for ever. Rows are never changed, so that nothing but a wait comes of it
-- at any isolation level.
CREATE TABLE bdr.sequence_lock (
    register regclass PRIMARY KEY
);
REVOKE ALL ON bdr.sequence_lock FROM PUBLIC;

-- As in 008_owners_code.sql, and a default that draws from a converted sequence is as good as one
-- that draws from PostgreSQL's own.
CREATE OR REPLACE FUNCTION bdr.untrusted_code(relation oid, for_users boolean)
RETURNS TABLE (owner name, what text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET jit = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
RETURN QUERY WITH RECURSIVE tree AS (
    SELECT $1 AS oid
    UNION
    SELECT n.oid FROM tree t CROSS JOIN LATERAL (
        SELECT h.inhrelid AS oid FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhrelid
         WHERE h.inhparent = t.oid AND p.relispartition
        UNION ALL
        -- Actions of foreign keys write the tables that reference this one.
        SELECT f.conrelid FROM pg_constraint f
         WHERE for_users AND f.confrelid = t.oid AND f.contype = 'f'
           AND (f.confupdtype NOT IN ('a', 'r') OR f.confdeltype NOT IN ('a', 'r'))) n
), rel AS MATERIALIZED (
    SELECT c.oid, c.relowner, c.relkind, c.relispartition, format('%I.%I', n.nspname, c.relname) AS name,
           bdr.is_trusted(c.relowner) AS trusted
      FROM tree t JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace
), object AS MATERIALIZED (
    -- What holds code: its catalog entry, by which dependencies name it, and its expressions.
    SELECT r.oid AS rel, 'pg_trigger'::regclass AS class, t.oid, format('trigger %I', t.tgname) AS what,
           concat(t.tgqual::text, ' :funcid ', t.tgfoid) AS code
      FROM rel r JOIN pg_trigger t ON t.tgrelid = r.oid
     WHERE NOT t.tgisinternal
       AND t.tgenabled = ANY (CASE WHEN for_users THEN '{A,O}' ELSE '{A,R}' END::"char"[])
    UNION ALL
    SELECT r.oid, 'pg_constraint', k.oid, format('constraint %I', k.conname), k.conbin::text
      FROM rel r JOIN pg_constraint k ON k.conrelid = r.oid WHERE k.contype = 'c'
    UNION ALL
    SELECT r.oid, 'pg_class', i.indexrelid, format('index %I', x.relname),
           concat(i.indexprs::text, i.indpred::text)
      FROM rel r JOIN pg_index i ON i.indrelid = r.oid JOIN pg_class x ON x.oid = i.indexrelid
     WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
    UNION ALL
    SELECT r.oid, 'pg_attrdef', d.oid, format('expression of column %I', a.attname),
           CASE WHEN pg_get_expr(d.adbin, d.adrelid)
                     ~ '^(nextval\(''(?!bdr\.)[^'']*''::regclass|bdr\.nextval(_[a-z_]+)?\(''(?!bdr\.)[^'']*''::regclass(, ''bdr\.[a-z0-9_]*''::regclass)?)\)$'
                 AND NOT EXISTS (SELECT FROM pg_depend p JOIN pg_class s ON s.oid = p.refobjid
                                  WHERE p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid
                                    AND p.refclassid = 'pg_class'::regclass AND s.relkind = 'S'
                                    AND s.relowner <> r.relowner
                                    AND s.relnamespace <> 'bdr'::regnamespace)
                THEN '' ELSE d.adbin::text END
      FROM rel r JOIN pg_attrdef d ON d.adrelid = r.oid
      JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    UNION ALL
    SELECT r.oid, 'pg_class', r.oid, 'its partition key', p.partexprs::text
      FROM rel r JOIN pg_partitioned_table p ON p.partrelid = r.oid WHERE p.partexprs IS NOT NULL
    UNION ALL
    SELECT r.oid, 'pg_rewrite', w.oid, format('rule %I', w.rulename),
           concat(w.ev_qual::text, w.ev_action::text)
      FROM rel r JOIN pg_rewrite w ON w.ev_class = r.oid
     WHERE w.ev_type <> '1'
       AND w.ev_enabled = ANY (CASE WHEN for_users THEN '{A,O}' ELSE '{A,R}' END::"char"[])
), type AS (
    SELECT a.attrelid AS rel, a.atttypid AS oid, format('column %I', a.attname) AS what
      FROM rel r JOIN pg_attribute a ON a.attrelid = r.oid WHERE a.attnum > 0 AND NOT a.attisdropped
    UNION
    SELECT o.rel, d.refobjid, o.what
      FROM object o JOIN pg_depend d ON d.classid = o.class AND d.objid = o.oid
     WHERE d.refclassid = 'pg_type'::regclass
    UNION
    SELECT y.rel, m.oid, y.what FROM type y JOIN pg_type t ON t.oid = y.oid CROSS JOIN LATERAL (
        SELECT t.typbasetype AS oid WHERE t.typtype = 'd'
        UNION ALL SELECT t.typelem WHERE t.typelem <> 0
        UNION ALL SELECT g.rngsubtype FROM pg_range g WHERE g.rngtypid = t.oid
        UNION ALL SELECT g.rngtypid FROM pg_range g WHERE g.rngmultitypid = t.oid
        UNION ALL SELECT a.atttypid FROM pg_attribute a
                   WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0
                     AND NOT a.attisdropped
        UNION ALL SELECT d.refobjid FROM pg_constraint k
                    JOIN pg_depend d ON d.classid = 'pg_constraint'::regclass AND d.objid = k.oid
                   WHERE k.contypid = t.oid AND d.refclassid = 'pg_type'::regclass) m
     WHERE y.oid >= 16384
), held AS MATERIALIZED (
    SELECT o.rel, o.class, o.oid, o.what, o.code FROM object o
    UNION ALL
    SELECT DISTINCT y.rel, 'pg_constraint'::regclass, k.oid,
           format('domain %s', k.contypid::regtype), ''
      FROM type y JOIN pg_constraint k ON k.contypid = y.oid WHERE y.oid >= 16384
), called AS (
    SELECT h.rel, h.what, f.ids[1]::oid AS proc
      FROM held h CROSS JOIN LATERAL regexp_matches(h.code, ':funcid (\d+)', 'g') AS f (ids)
    UNION
    SELECT h.rel, h.what, COALESCE(q.oprcode::oid, d.refobjid)
      FROM held h JOIN pg_depend d ON d.classid = h.class AND d.objid = h.oid
      LEFT JOIN pg_operator q ON d.refclassid = 'pg_operator'::regclass AND q.oid = d.refobjid
     WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
       AND NOT (h.class = 'pg_attrdef'::regclass AND h.code = '')
    UNION
    SELECT y.rel, y.what, p.oid
      FROM type y JOIN pg_range g ON g.rngtypid = y.oid
      CROSS JOIN LATERAL (VALUES (g.rngcanonical::oid), (g.rngsubdiff::oid)) AS p (oid)
     WHERE y.oid >= 16384 AND p.oid <> 0
), found AS (
    SELECT r.relowner AS role, format('table %s is partitioned, and its owner may alter partitions '
                                      'while rows are written', r.name) AS what
      FROM rel r WHERE NOT r.trusted AND (r.relkind = 'p' OR r.relispartition)
    UNION
    SELECT t.typowner, format('type %s (%s of table %s)', t.oid::regtype, y.what, r.name)
      FROM type y JOIN rel r ON r.oid = y.rel JOIN pg_type t ON t.oid = y.oid
     WHERE t.typtype IN ('d', 'c', 'r', 'm') AND NOT bdr.is_trusted(t.typowner)
    UNION
    SELECT p.proowner, format('function %s (%s of table %s)', p.oid::regprocedure, c.what, r.name)
      FROM called c JOIN rel r ON r.oid = c.rel JOIN pg_proc p ON p.oid = c.proc
     WHERE NOT bdr.is_trusted(p.proowner)
    UNION
    -- What is trusted, given arguments by somebody who is not.
    SELECT r.relowner, format('function %s as called by %s of table %s', p.oid::regprocedure, c.what,
                              r.name)
      FROM called c JOIN rel r ON r.oid = c.rel JOIN pg_proc p ON p.oid = c.proc
     WHERE NOT r.trusted AND p.provolatile <> 'i'
       AND NOT (p.oid < 16384 AND p.pronamespace = 'pg_catalog'::regnamespace
                AND (p.provolatile = 's'
                     AND p.proname !~ '^(pg_|has_|current_setting$)|_to_xml|_description$'
                     OR p.proname IN ('random', 'clock_timestamp', 'timeofday', 'gen_random_uuid',
                                      'suppress_redundant_updates_trigger',
                                      'tsvector_update_trigger',
                                      'tsvector_update_trigger_column')))
    UNION
    SELECT r.relowner, format('%s of table %s', o.what, r.name)
      FROM object o JOIN rel r ON r.oid = o.rel
     WHERE NOT r.trusted AND o.class = 'pg_rewrite'::regclass
)
SELECT DISTINCT COALESCE(a.rolname, f.role::text::name), f.what
  FROM found f LEFT JOIN pg_roles a ON a.oid = f.role ORDER BY 1, 2;
END $$;
