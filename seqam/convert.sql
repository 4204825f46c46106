-- Whose agent may write what schema bdr leaves to it.
CREATE OR REPLACE FUNCTION bdr.agent_roles() RETURNS SETOF regrole
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $bdr$
    SELECT a.grantee::regrole FROM pg_class c, aclexplode(c.relacl) a
     WHERE c.oid = 'bdr.progress'::regclass AND a.privilege_type = 'INSERT' AND a.grantee <> c.relowner
       AND a.grantee <> 0
$bdr$;

-- A sequence's registers, anew: NAME, which defaults read, and others with a suffix. Everybody reads
-- them. Those that agents set are UNLOGGED: a crash empties them, and the agent sets them again.
CREATE OR REPLACE FUNCTION bdr.make_registers(name text, suffixes text[], for_agents boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    register text;
    agent    regrole;
BEGIN
    FOR register IN SELECT name || x FROM unnest(suffixes) x LOOP
        EXECUTE format('DROP SEQUENCE IF EXISTS %s', register);
        EXECUTE format('CREATE %s SEQUENCE %s AS bigint MINVALUE -9223372036854775808 START 1 NO CYCLE',
                       CASE WHEN for_agents THEN 'UNLOGGED' END, register);
        EXECUTE format('GRANT SELECT ON SEQUENCE %s TO PUBLIC', register);
        IF for_agents THEN
            FOR agent IN SELECT bdr.agent_roles() LOOP
                EXECUTE format('GRANT UPDATE ON SEQUENCE %s TO %s', register, agent);
            END LOOP;
        END IF;
    END LOOP;
END $bdr$;
REVOKE ALL ON FUNCTION bdr.make_registers(text, text[], boolean) FROM PUBLIC;

-- The columns that draw from a sequence: by their default, or as an identity ('a' or 'd').
CREATE OR REPLACE FUNCTION bdr.sequence_columns(s regclass)
RETURNS TABLE (relation regclass, attnum smallint, attname name, identity "char", expression text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $bdr$
    SELECT a.attrelid::regclass, a.attnum, a.attname, a.attidentity, pg_get_expr(f.adbin, f.adrelid)
      FROM (SELECT f.adrelid AS relation, f.adnum AS attnum
              FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid
             WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
               AND d.refobjid = s
             UNION
            SELECT d.refobjid, d.refobjsubid FROM pg_depend d
             WHERE d.classid = 'pg_class'::regclass AND d.objid = s AND d.deptype = 'i'
               AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0) u
      JOIN pg_attribute a ON a.attrelid = u.relation AND a.attnum = u.attnum
      LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
     ORDER BY a.attrelid, a.attnum
$bdr$;

-- What else names a sequence, so that a person can look: functions by their text, views by what they
-- depend on.
CREATE OR REPLACE FUNCTION bdr.sequence_mentions(s regclass) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $bdr$
    SELECT format('function %s', p.oid::regprocedure) FROM pg_proc p, pg_class c
     WHERE c.oid = s AND p.prosrc ~ ('\m' || regexp_replace(c.relname, '([^[:alnum:]_])', '\\\1', 'g') || '\M')
       AND p.pronamespace NOT IN ('pg_catalog'::regnamespace, 'bdr'::regnamespace)
     UNION
    SELECT format('view %s', w.ev_class::regclass) FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid
     WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = s
     ORDER BY 1
$bdr$;

-- A table and all that inherit from it, partitions included.
CREATE OR REPLACE FUNCTION bdr.table_and_heirs(relation oid) RETURNS SETOF oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $bdr$
    WITH RECURSIVE tree AS (
        SELECT relation AS oid
         UNION
        SELECT h.inhrelid FROM tree t JOIN pg_inherits h ON h.inhparent = t.oid)
    SELECT t.oid FROM tree t ORDER BY t.oid
$bdr$;

-- Fails if code that nobody trusts could run with the caller's rights once he does more with a table
-- than to lock it. Already a plan of a query does: of indexes, statistics, CHECKs and partition keys
-- of the whole tree it works out what is constant. On his own tables a caller who is no superuser may.
CREATE OR REPLACE FUNCTION bdr.require_trusted_code(relation regclass) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $bdr$
#variable_conflict use_variable
DECLARE
    f record;
BEGIN
    FOR f IN SELECT t.owner, t.what FROM bdr.table_and_heirs(relation) m (oid)
               JOIN pg_class c ON c.oid = m.oid JOIN pg_namespace n ON n.oid = c.relnamespace
              CROSS JOIN LATERAL (
                    SELECT u.owner, u.what FROM bdr.untrusted_code(m.oid, false) u
                     -- Defaults call functions where rows are written, and only there.
                     WHERE NOT EXISTS (
                           SELECT FROM pg_attribute a JOIN pg_proc p ON position(p.oid::regprocedure::text IN u.what) = 10
                            WHERE a.attrelid = m.oid AND a.atthasdef AND u.what IN (
                                  format('function %s as called by expression of column %I of table %I.%I',
                                         p.oid::regprocedure, a.attname, n.nspname, c.relname),
                                  format('function %s (expression of column %I of table %I.%I)',
                                         p.oid::regprocedure, a.attname, n.nspname, c.relname)))
                     UNION ALL
                    SELECT pg_get_userbyid(c.relowner), format('table %s, which is elsewhere', m.oid::regclass)
                     WHERE c.relkind NOT IN ('r', 'p', 'v') AND NOT bdr.is_trusted(c.relowner)) t
              WHERE c.relowner <> current_user::regrole
                 OR (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) LIMIT 1 LOOP
        RAISE EXCEPTION 'table %: code would run with the rights of role "%", and its owner "%" is not trusted: %',
                        relation, current_user, f.owner, f.what
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('If that role may be trusted with every replicated table, run "bdrctl node trust %s", '
                                'or let a superuser run here: SELECT bdr.trust_owner(%L). Else drop what is named, or '
                                'the column''s default.', f.owner, f.owner);
    END LOOP;
END $bdr$;

-- The highest number in use on this node: in columns, and that it has given out and that sessions may
-- still hold; the sequence's own MAXVALUE at most, since columns hold what anybody wrote. A method
-- that has given out none counts as if it stood at its first, since that is how bdr.cap_METHOD()
-- takes it.
--
-- Anybody can give a table a default that names the sequence: only those of owners who may draw from
-- it count, and of trusted ones. See bdr.require_trusted_code() for how it fails.
CREATE OR REPLACE FUNCTION bdr.sequence_highest(s regclass) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
-- Policies are their owners' code, and the highest of the visible rows is not the highest.
SET row_security = off AS $bdr$
DECLARE
    v        bigint   := pg_sequence_last_value(s);
    register regclass := (SELECT w.register FROM bdr.sequence w WHERE w.relation = s);
    -- Of one that was never drawn from: what lies below its beginning.
    highest  bigint   := COALESCE(v, (SELECT q.seqstart - 1 FROM pg_sequence q
                                       WHERE q.seqrelid = s AND q.seqincrement > 0
                                         AND NOT EXISTS (SELECT FROM bdr.sequence w WHERE w.relation = s)));
    q        record;
    m        regclass;
    found    bigint;
BEGIN
    IF v IS NULL AND EXISTS (SELECT FROM bdr.sequence w WHERE w.relation = s) THEN
        v := (SELECT w.seqstart FROM pg_sequence w WHERE w.seqrelid = s);
        highest := v;
    END IF;
    IF v < -4611686018427387904 THEN
        highest := @CEILING@;
    END IF;
    FOR q IN SELECT u.relation, u.attname FROM bdr.sequence_columns(s) u
              JOIN pg_attribute a ON a.attrelid = u.relation AND a.attnum = u.attnum
              JOIN pg_type t ON t.oid = a.atttypid
              JOIN pg_class c ON c.oid = u.relation
             -- Not of views, which run whatever their owners put into them.
             WHERE c.relkind IN ('r', 'p')
               AND CASE WHEN has_sequence_privilege(c.relowner, s, 'USAGE, UPDATE') THEN true
                        ELSE bdr.is_trusted(c.relowner) END
               AND CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
                   IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype) LOOP
        -- Before it is looked at an owner is kept from adding code; who is trusted would not, and who
        -- calls may.
        FOR m IN SELECT t.oid FROM bdr.table_and_heirs(q.relation) t (oid) JOIN pg_class c ON c.oid = t.oid
                  WHERE c.relkind IN ('r', 'p')
                    AND CASE c.relowner WHEN current_user::regrole THEN false
                             ELSE NOT bdr.is_trusted(c.relowner) END LOOP
            IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
                RAISE EXCEPTION 'bdr.sequence_highest() has to see what was changed before it locked table %', m
                    USING HINT = 'Call it in a transaction that is READ COMMITTED.';
            END IF;
            EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', m);
        END LOOP;
        PERFORM bdr.require_trusted_code(q.relation);
        EXECUTE format('SELECT max(%I) FROM %s WHERE %1$I >= -4611686018427387904', q.attname, q.relation) INTO found;
        highest := GREATEST(highest, found);
    END LOOP;
    -- NULL stays: bdr-server knows.
    RETURN CASE WHEN highest IS NOT NULL THEN LEAST(highest, (SELECT COALESCE(w.max, c.max, p.seqmax) FROM pg_sequence p
                             LEFT JOIN bdr.sequence w ON w.relation = p.seqrelid
                             LEFT JOIN bdr.sequence_cap c ON c.relation = p.seqrelid WHERE p.seqrelid = s)) END;
END $bdr$;

-- Whoever changes a sequence's method or cap has what it is now to himself until his transaction ends.
-- There is no row of one that is PostgreSQL's own, which could be locked.
CREATE OR REPLACE FUNCTION bdr.lock_conversion(s regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
BEGIN
    PERFORM pg_advisory_xact_lock(1111773780, (s::oid::bigint & 2147483647)::int);
END $bdr$;

-- Until the sequence is converted on every node, no node gives out a number above `last` by itself:
-- numbers of the method come from beyond it.
CREATE OR REPLACE FUNCTION bdr.cap_sequence(s regclass, last bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
#variable_conflict use_variable
DECLARE
    p      pg_sequence;
    was    bdr.sequence_cap;
    at     bigint;
    called boolean;
    ends   boolean;
    method text;
BEGIN
    PERFORM bdr.lock_conversion(s);
    method := (SELECT q.method FROM bdr.sequence q WHERE q.relation = s);
    was := (SELECT c FROM bdr.sequence_cap c WHERE c.relation = s);
    IF method = 'galloc' THEN
        RETURN;  -- of its numbers it draws none by itself, and bdr-server ends its grants
    END IF;
    SELECT * INTO p FROM pg_sequence q WHERE q.seqrelid = s;
    -- A cap only falls: a node that was converted since may be giving out what lies above it.
    INSERT INTO bdr.sequence_cap AS c
        SELECT s, p.seqstart, p.seqmin,
               COALESCE((SELECT w.max FROM bdr.sequence w WHERE w.relation = s), p.seqmax), last
        ON CONFLICT (relation) DO UPDATE SET last = LEAST(c.last, EXCLUDED.last)
        RETURNING LEAST(c.last, c.max) INTO last;
    IF method IS NOT NULL THEN
        EXECUTE format('SELECT bdr.cap_%s($1, $2)', method) USING s, last;
    ELSE
        -- START and RESTART must lie within, also of what never comes to them: that is set to have
        -- given out its last number. bdr.uncap_sequence() knows it by its MINVALUE, just below.
        EXECUTE format('ALTER SEQUENCE %s CACHE %s', s, p.seqcache);  -- locks it
        EXECUTE format('SELECT last_value, is_called FROM %s', s) INTO at, called;
        ends := NOT called AND at > last OR was.relation IS NOT NULL AND p.seqmin = p.seqmax - 1 AND p.seqmax < was.start;
        EXECUTE format('ALTER SEQUENCE %s MINVALUE %s MAXVALUE %s %s %s', s,
                       CASE WHEN ends THEN last - 1 ELSE LEAST(p.seqmin, last - 2) END, last,
                       CASE WHEN p.seqstart > last THEN 'START ' || last END,
                       CASE WHEN ends THEN 'RESTART ' || last END);
        IF ends THEN
            PERFORM setval(s, last);
        END IF;
    END IF;
END $bdr$;

-- As it was before that.
CREATE OR REPLACE FUNCTION bdr.uncap_sequence(s regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    c    bdr.sequence_cap;
    ends boolean := (SELECT q.seqmin = q.seqmax - 1 FROM pg_sequence q WHERE q.seqrelid = s);
BEGIN
    DELETE FROM bdr.sequence_cap q WHERE q.relation = s RETURNING * INTO c;
    EXECUTE format('ALTER SEQUENCE %s MINVALUE %s MAXVALUE %s START %s %s', s, c.min, c.max, c.start,
                   CASE WHEN ends AND c.last < c.start THEN 'RESTART ' || c.start END);
END $bdr$;
REVOKE ALL ON FUNCTION bdr.uncap_sequence(regclass) FROM PUBLIC;

-- Gives the rights that another sequence had.
CREATE OR REPLACE FUNCTION bdr.grant_as(s regclass, acl aclitem[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    g record;
BEGIN
    FOR g IN SELECT a.* FROM aclexplode(acl) a WHERE a.grantee <> a.grantor LOOP
        EXECUTE format('GRANT %s ON SEQUENCE %s TO %s%s', g.privilege_type, s,
                       CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END,
                       CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END);
    END LOOP;
END $bdr$;

-- An identity column's sequence belongs to it alone and is drawn by PostgreSQL itself; so that the
-- method can be asked, the column gets a sequence of the same name, owner and rights, and a default.
CREATE OR REPLACE FUNCTION bdr.identity_to_default(s regclass) RETURNS regclass
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    u     record;
    c     record;
    q     record;
    made  regclass;
BEGIN
    SELECT * INTO u FROM bdr.sequence_columns(s) w WHERE w.identity <> '';
    IF NOT FOUND THEN
        RETURN s;
    END IF;
    SELECT n.nspname, k.relname, k.relacl, k.relowner::regrole AS owner INTO c
      FROM pg_class k JOIN pg_namespace n ON n.oid = k.relnamespace WHERE k.oid = s;
    SELECT * INTO q FROM pg_sequence w WHERE w.seqrelid = s;
    EXECUTE format('CREATE SEQUENCE %I.%I AS %s MINVALUE %s MAXVALUE %s INCREMENT %s START %s CACHE %s %s',
                   c.nspname, left('bdr_' || s::oid, 63), q.seqtypid::regtype, q.seqmin, q.seqmax, q.seqincrement,
                   q.seqstart, q.seqcache, CASE WHEN q.seqcycle THEN 'CYCLE' ELSE '' END);
    made := format('%I.%I', c.nspname, left('bdr_' || s::oid, 63))::regclass;
    IF pg_sequence_last_value(s) IS NOT NULL THEN
        PERFORM setval(made, pg_sequence_last_value(s));
    END IF;
    EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP IDENTITY', u.relation, u.attname);
    EXECUTE format('ALTER SEQUENCE %s RENAME TO %I', made, c.relname);
    EXECUTE format('ALTER SEQUENCE %s OWNER TO %s', made, c.owner);
    PERFORM bdr.grant_as(made, c.relacl);
    UPDATE bdr.sequence_right r SET relation = made WHERE r.relation = s;
    EXECUTE format('ALTER SEQUENCE %s OWNED BY %s.%I', made, u.relation, u.attname);
    EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT nextval(%L::regclass)', u.relation, u.attname,
                   made);
    RETURN made;
END $bdr$;

-- And back.
CREATE OR REPLACE FUNCTION bdr.default_to_identity(s regclass, kind "char", next bigint)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    u    record;
    c    record;
    q    record;
    made regclass;
BEGIN
    -- The column that it belongs to: partitions have it as their default as well.
    SELECT w.* INTO STRICT u FROM bdr.sequence_columns(s) w
      JOIN pg_depend d ON d.refobjid = w.relation AND d.refobjsubid = w.attnum
     WHERE d.classid = 'pg_class'::regclass AND d.objid = s AND d.deptype = 'a'
       AND d.refclassid = 'pg_class'::regclass;
    SELECT n.nspname, k.relname, k.relacl INTO c
      FROM pg_class k JOIN pg_namespace n ON n.oid = k.relnamespace WHERE k.oid = s;
    SELECT * INTO q FROM pg_sequence w WHERE w.seqrelid = s;
    EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', u.relation, u.attname);
    EXECUTE format('DROP SEQUENCE %s', s);
    EXECUTE format('ALTER TABLE %s ALTER COLUMN %I ADD GENERATED %s AS IDENTITY (SEQUENCE NAME %I.%I '
                   'MINVALUE %s MAXVALUE %s INCREMENT %s START %s RESTART %s CACHE %s %s)',
                   u.relation, u.attname, CASE kind WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, c.nspname,
                   c.relname, q.seqmin, q.seqmax, q.seqincrement, q.seqstart,
                   next, q.seqcache, CASE WHEN q.seqcycle THEN 'CYCLE' ELSE '' END);
    made := format('%I.%I', c.nspname, c.relname)::regclass;
    PERFORM bdr.grant_as(made, c.relacl);
    UPDATE bdr.sequence_right r SET relation = made WHERE r.relation = s;
END $bdr$;

-- Fails if to write the defaults of a sequence's columns anew could run code that nobody trusts, as of
-- types whose constants they hold. Those that only draw a number hold none. In one statement with what
-- reads the defaults, since those of views change meanwhile.
CREATE OR REPLACE FUNCTION bdr.require_trusted_defaults(s regclass) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $bdr$
BEGIN
    PERFORM bdr.require_trusted_code(u.relation)
       FROM (SELECT DISTINCT q.relation FROM bdr.sequence_columns(s) q JOIN pg_class c ON c.oid = q.relation
              WHERE c.relkind = 'p'
                 OR q.expression !~ '^(nextval\(''[^'']*''::regclass|bdr\.nextval(_[a-z_]+)?\(''[^'']*''::regclass(, ''bdr\.[a-z0-9_]*''::regclass)?)\)$'
            ) u;
END $bdr$;

-- Brings a sequence to another method on this node, all or nothing: for an administrator. `number`
-- is the cluster's for this sequence, `node` this node's id; no node has given out `first` or
-- anything beyond it, nor will without the method. Repeating it changes nothing. The columns' tables
-- are locked while it runs, before the sequence, as whoever inserts does.
CREATE OR REPLACE FUNCTION bdr.convert_sequence(s regclass, method text, number int, node int,
                                                first bigint, parameters jsonb DEFAULT '{}')
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
#variable_conflict use_variable
DECLARE
    was      bdr.sequence;
    p        pg_sequence;
    u        record;
    kind     "char" := '';
    before   text;
    after    text;
    begins   text := format('bdr.begin_%s', method);
    tag      int := bdr.sequence_tag(method);
    start    bigint;
    capped   bdr.sequence_cap;
BEGIN
    PERFORM bdr.lock_conversion(s);
    capped := (SELECT c FROM bdr.sequence_cap c WHERE c.relation = s);
    PERFORM bdr.drop_registers();  -- those of a sequence of this name that was dropped
    SELECT * INTO was FROM bdr.sequence q WHERE q.relation = s;
    IF was.method = method AND was.number = number AND capped.relation IS NULL THEN
        RETURN;  -- with a cap it was on its way to another method, and goes on beyond that
    ELSIF was.method IS NULL AND method = 'local' THEN
        IF capped.relation IS NOT NULL THEN
            PERFORM bdr.uncap_sequence(s);
        END IF;
        RETURN;
    END IF;
    FOR u IN SELECT DISTINCT q.relation FROM bdr.sequence_columns(s) q JOIN pg_class c ON c.oid = q.relation
              WHERE c.relkind IN ('r', 'p') ORDER BY q.relation LOOP
        EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', u.relation);
    END LOOP;
    PERFORM bdr.require_trusted_defaults(s);

    before := format('nextval(%L::regclass)', s);
    kind := COALESCE(was.parameters ->> 'identity', '');
    DELETE FROM bdr.sequence q WHERE q.relation = s;
    DELETE FROM bdr.sequence_cap c WHERE c.relation = s;
    IF was.register IS NOT NULL THEN
        -- The new method's registers have the old one's names.
        FOR u IN SELECT q.* FROM bdr.require_trusted_defaults(s), bdr.sequence_columns(s) q
                  WHERE q.expression IS NOT NULL LOOP
            EXECUTE format('ALTER TABLE ONLY %s ALTER COLUMN %I SET DEFAULT %s', u.relation, u.attname,
                           replace(u.expression, bdr.sequence_call(was.method, s, was.register), before));
        END LOOP;
        PERFORM bdr.drop_registers();
    ELSIF method <> 'local' AND tag IS NOT NULL THEN
        kind := COALESCE((SELECT q.identity FROM bdr.sequence_columns(s) q WHERE q.identity <> ''), kind);
        s := bdr.identity_to_default(s);
        before := format('nextval(%L::regclass)', s);
    END IF;
    SELECT * INTO p FROM pg_sequence q WHERE q.seqrelid = s;
    IF was.relation IS NULL THEN
        was := (s, number, method, node, NULL, '{}', p.seqtypid, COALESCE(capped.start, p.seqstart),
                COALESCE(capped.min, p.seqmin), COALESCE(capped.max, p.seqmax), p.seqincrement, p.seqcache, p.seqcycle);
        DELETE FROM bdr.sequence_cap c WHERE c.relation = s;
    END IF;

    after := format('nextval(%L::regclass)', s);
    IF method = 'local' THEN
        EXECUTE format('ALTER SEQUENCE %s AS %s MINVALUE %s MAXVALUE %s INCREMENT %s START %s RESTART %s CACHE %s %s',
                       s, was.data_type, was.min, was.max, was.increment, was.start, first, was.cache,
                       CASE WHEN was.cycle THEN 'CYCLE' ELSE 'NO CYCLE' END);
    ELSE
        IF was.cycle THEN
            RAISE EXCEPTION 'sequence "%" is set to CYCLE, by which numbers come again', s
                USING HINT = 'ALTER SEQUENCE ... NO CYCLE first.';
        ELSIF first > was.max THEN
            RAISE EXCEPTION 'sequence "%" would begin at %, beyond its MAXVALUE %', s, first, was.max;
        END IF;
        INSERT INTO bdr.sequence
            SELECT s, number, method, node, NULL,
                   parameters || CASE kind WHEN '' THEN '{}' ELSE jsonb_build_object('identity', kind) END,
                   was.data_type, was.start, was.min, was.max, was.increment, was.cache, was.cycle;
        EXECUTE format('SELECT %s($1, $2, $3, $4, $5)', begins) INTO was.register
            USING s, number, node, first, parameters;
        UPDATE bdr.sequence q SET register = was.register WHERE q.relation = s;
        IF tag IS NOT NULL THEN
            start := -9223372036854775808 + (tag::bigint << 59) + (node::bigint << 49)
                     + (COALESCE((SELECT (q.parameters ->> 'kind')::bigint FROM bdr.sequence q
                                   WHERE q.relation = s), 0) << 46);
            EXECUTE format('ALTER SEQUENCE %s AS bigint MINVALUE -9223372036854775808 MAXVALUE %s INCREMENT 1 '
                           'START %s RESTART %3$s NO CYCLE', s, start + 70368744177663, start);
            after := bdr.sequence_call(method, s, was.register);
        END IF;
    END IF;
    FOR u IN SELECT q.* FROM bdr.require_trusted_defaults(s), bdr.sequence_columns(s) q
              WHERE q.expression IS NOT NULL LOOP
        EXECUTE format('ALTER TABLE ONLY %s ALTER COLUMN %I SET DEFAULT %s', u.relation, u.attname,
                       replace(u.expression, before, after));
    END LOOP;
    IF method = 'local' AND kind <> '' THEN
        PERFORM bdr.default_to_identity(s, kind, first);
    END IF;
    PERFORM bdr.drop_registers();
END $bdr$;

-- Of sequences that were converted back, or dropped; with what else is left of their methods.
CREATE OR REPLACE FUNCTION bdr.drop_registers() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    c record;
BEGIN
    DELETE FROM bdr.sequence_cap q WHERE NOT EXISTS (SELECT FROM pg_class k WHERE k.oid = q.relation);
    DELETE FROM bdr.sequence q WHERE NOT EXISTS (SELECT FROM pg_class k WHERE k.oid = q.relation);
    FOR c IN SELECT k.oid::regclass AS name FROM pg_class k
              WHERE k.relnamespace = 'bdr'::regnamespace AND k.relkind = 'S' AND k.relname ~ '^sequence_\d'
                AND NOT EXISTS (SELECT FROM bdr.sequence q
                                 WHERE q.number = substring(k.relname FROM '^sequence_(\d+)')::int) LOOP
        EXECUTE format('DROP SEQUENCE %s', c.name);
    END LOOP;
    PERFORM bdr.stepped_give_back();
    -- Who has one locked may be waiting for the register, which is ours: another time, then.
    DELETE FROM bdr.sequence_lock q WHERE q.register IN (
        SELECT l.register FROM bdr.sequence_lock l
         WHERE NOT EXISTS (SELECT FROM pg_class k WHERE k.oid = l.register) FOR UPDATE SKIP LOCKED);
END $bdr$;

REVOKE ALL ON FUNCTION bdr.convert_sequence(regclass, text, int, int, bigint, jsonb),
    bdr.cap_sequence(regclass, bigint), bdr.drop_registers() FROM PUBLIC;
