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

-- What sequences had that are about to be converted, for as long as a lower MAXVALUE keeps them from giving
-- out what is the method's already.
CREATE TABLE bdr.sequence_cap (
    relation regclass PRIMARY KEY,
    start    bigint   NOT NULL,
    min      bigint   NOT NULL,
    max      bigint   NOT NULL,
    last     bigint   NOT NULL  -- no number above it is given out
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

-- A default that draws from a converted sequence is as good as one that draws from PostgreSQL's own:
-- what 008_owners_code.sql says of those, said of these as well. Only what is drawn has to be the
-- owner's; the register, which is only read, is in this schema. And what it does not say: expressions of
-- statistics run where any query is planned.
DO $do$
DECLARE
    changes text[] := ARRAY[
        $x$pg_get_expr(d.adbin, d.adrelid) ~ '^nextval\(''[^'']*''::regclass\)$'$x$,
        $x$pg_get_expr(d.adbin, d.adrelid)
                     ~ '^(nextval\(''(?!bdr\.)[^'']*''::regclass|bdr\.nextval(_[a-z_]+)?\(''(?!bdr\.)[^'']*''::regclass(, ''bdr\.[a-z0-9_]*''::regclass)?)\)$'$x$,
        $x$AND s.relowner <> r.relowner)$x$,
        $x$AND s.relowner <> r.relowner
                                    AND s.relnamespace <> 'bdr'::regnamespace)$x$,
        $x$WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
$x$,
        $x$WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
       AND NOT (h.class = 'pg_attrdef'::regclass AND h.code = '')
$x$,
        -- Any plan works out what is constant in them.
        $x$     WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
    UNION ALL
$x$,
        $x$     WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
    UNION ALL
    SELECT r.oid, 'pg_statistic_ext', x.oid, format('statistics %I', x.stxname), x.stxexprs::text
      FROM rel r JOIN pg_statistic_ext x ON x.stxrelid = r.oid WHERE x.stxexprs IS NOT NULL
    UNION ALL
$x$];
    stamp   text   := $x$
    (SELECT string_agg(concat(o.owner, ' ', o.xmin), ',' ORDER BY o.owner)$x$;
    code    text   := pg_get_functiondef('bdr.untrusted_code(oid, boolean)'::regprocedure);
BEGIN
    FOR i IN 1 .. 7 BY 2 LOOP
        IF position(changes[i] IN code) = 0 THEN
            RAISE EXCEPTION 'bdr.untrusted_code() is not the one of 008_owners_code.sql: it lacks %', changes[i];
        END IF;
        code := replace(code, changes[i], changes[i + 1]);
    END LOOP;
    EXECUTE code;
    -- So that they are looked for again once there are others.
    code := pg_get_functiondef('bdr.code_stamp(oid)'::regprocedure);
    IF position(stamp IN code) = 0 THEN
        RAISE EXCEPTION 'bdr.code_stamp() is not the one of 008_owners_code.sql: it lacks %', stamp;
    END IF;
    EXECUTE replace(code, stamp, $x$
    (SELECT string_agg(concat(x.oid, ' ', x.xmin), ',' ORDER BY x.oid)
       FROM tree t JOIN pg_statistic_ext x ON x.stxrelid = t.oid),$x$ || stamp);
END $do$;
