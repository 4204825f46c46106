-- stepped: the sequence counts in steps of `slots`, and each node has a remainder of its own, `slot`.
--
-- Two nodes never meet, since their numbers differ modulo `slots`, above `first`, below which no node
-- draws any more. Only setval() could leave the remainder: the right to it, UPDATE, is taken from
-- everybody, the owner included, and USAGE left to whoever had either. (A superuser keeps it.) Another
-- method gives it back.
--
-- More slots: bdr.stepped_cap() on every node says what it will not go beyond; once all have said,
-- bdr.stepped_switch() on every node goes on with the new number of slots beyond all of these. In
-- between, nodes with old and new steps never meet.

-- The least number from `first` on that is the slot's.
CREATE OR REPLACE FUNCTION bdr.stepped_first(slots bigint, slot bigint, first bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $bdr$
    SELECT first + (((slot - first) % slots) + slots) % slots
$bdr$;

CREATE OR REPLACE FUNCTION bdr.stepped_begin_at(s regclass, slots int, slot int, first bigint,
                                                max bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    begin_at bigint := bdr.stepped_first(slots, slot, first);
BEGIN
    IF begin_at > max THEN
        RAISE EXCEPTION 'sequence "%" would begin at %, beyond its MAXVALUE %', s, begin_at, max;
    END IF;
    EXECUTE format('ALTER SEQUENCE %s INCREMENT %s MINVALUE %s MAXVALUE %s START %3$s RESTART %3$s '
                   'NO CYCLE', s, slots, begin_at, max);
END $bdr$;

CREATE OR REPLACE FUNCTION bdr.stepped_check_slot(s regclass, slots int, slot int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
BEGIN
    IF slots IS NULL OR slots NOT BETWEEN 1 AND 1024 THEN
        RAISE EXCEPTION 'sequence "%" cannot have % slots: 1 to 1024', s, COALESCE(slots::text, 'no');
    ELSIF slot IS NULL OR slot NOT BETWEEN 0 AND slots - 1 THEN
        RAISE EXCEPTION 'sequence "%" has no slot % for this node, only 0 to %', s,
                        COALESCE(slot::text, '"null"'), slots - 1;
    END IF;
END $bdr$;

-- It has a MAXVALUE then that must stay.
CREATE OR REPLACE FUNCTION bdr.stepped_check_not_converting(s regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
BEGIN
    IF EXISTS (SELECT FROM bdr.sequence_cap c WHERE c.relation = s) THEN
        RAISE EXCEPTION 'sequence "%" is being converted to another method', s
            USING HINT = 'Bring that to its end first.';
    END IF;
END $bdr$;

CREATE OR REPLACE FUNCTION bdr.begin_stepped(s regclass, number int, node int, first bigint,
                                             parameters jsonb) RETURNS regclass
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    q bdr.sequence := (SELECT w FROM bdr.sequence w WHERE w.relation = s);
    g record;
BEGIN
    PERFORM bdr.stepped_check_slot(s, (parameters ->> 'slots')::int, (parameters ->> 'slot')::int);
    IF q.increment <> 1 THEN
        RAISE EXCEPTION 'sequence "%" has INCREMENT %, and stepped needs that for the nodes', s, q.increment
            USING HINT = 'Choose another method, or set its INCREMENT to 1 first.';
    END IF;
    PERFORM bdr.stepped_begin_at(s, (parameters ->> 'slots')::int, (parameters ->> 'slot')::int, first,
                                 q.max);
    INSERT INTO bdr.sequence_right
        SELECT s, a.grantee, bool_or(a.is_grantable)
          FROM pg_class c, aclexplode(COALESCE(c.relacl, acldefault('s', c.relowner))) a
         WHERE c.oid = s AND a.privilege_type = 'UPDATE' GROUP BY a.grantee
        ON CONFLICT DO NOTHING;
    FOR g IN SELECT a.grantee, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS role
               FROM pg_class c, aclexplode(COALESCE(c.relacl, acldefault('s', c.relowner))) a
              WHERE c.oid = s AND a.privilege_type = 'UPDATE' LOOP
        EXECUTE format('GRANT USAGE ON SEQUENCE %s TO %s', s, g.role);
        EXECUTE format('REVOKE UPDATE ON SEQUENCE %s FROM %s CASCADE', s, g.role);
    END LOOP;
    RETURN NULL;
END $bdr$;

-- See bdr.cap_sequence(). What bdr.stepped_cap() said before holds, too: other nodes may have gone on
-- beyond it.
CREATE OR REPLACE FUNCTION bdr.cap_stepped(s regclass, last bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    q     bdr.sequence;
    drawn bigint;
BEGIN
    SELECT * INTO q FROM bdr.sequence w WHERE w.relation = s FOR UPDATE;
    EXECUTE format('ALTER SEQUENCE %s NO CYCLE', s);  -- locks it
    drawn := COALESCE(pg_sequence_last_value(s), (SELECT w.seqmin FROM pg_sequence w WHERE w.seqrelid = s));
    IF drawn > last THEN
        PERFORM bdr.stepped_refuse_cap(s, drawn, last);
    END IF;
    EXECUTE format('ALTER SEQUENCE %s MAXVALUE %s', s,
                   LEAST(last, q.max, (q.parameters ->> 'cap')::bigint));
END $bdr$;

CREATE OR REPLACE FUNCTION bdr.stepped_refuse_cap(s regclass, drawn bigint, last bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
BEGIN
    RAISE EXCEPTION 'sequence "%" cannot end at % on this node: it is at % already', s, last, drawn
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'Draw a number from it on this node and convert it again: that begins beyond.';
END $bdr$;

-- What bdr.begin_stepped() took, of sequences that have another method by now.
CREATE OR REPLACE FUNCTION bdr.stepped_give_back() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    g record;
BEGIN
    FOR g IN DELETE FROM bdr.sequence_right r
              WHERE NOT EXISTS (SELECT FROM bdr.sequence q WHERE q.relation = r.relation AND q.method = 'stepped')
             RETURNING r.* LOOP
        -- Either may have been dropped meanwhile.
        IF EXISTS (SELECT FROM pg_class c WHERE c.oid = g.relation)
           AND (g.grantee = 0 OR EXISTS (SELECT FROM pg_roles a WHERE a.oid = g.grantee)) THEN
            EXECUTE format('GRANT UPDATE ON SEQUENCE %s TO %s%s', g.relation,
                           CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END,
                           CASE WHEN g.grantable AND g.grantee <> 0 THEN ' WITH GRANT OPTION' ELSE '' END);
        END IF;
    END LOOP;
END $bdr$;

-- The last number that this node gives out until bdr.stepped_switch(). `ahead`: how many it may
-- still draw until then; they are a gap if it does not. Repeating it gives the same. Waits for
-- transactions that drew, and keeps others waiting: set lock_timeout and repeat.
CREATE OR REPLACE FUNCTION bdr.stepped_cap(s regclass, ahead bigint DEFAULT 1000000) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    q    bdr.sequence;
    last bigint;
    cap  bigint;
BEGIN
    SELECT * INTO q FROM bdr.sequence w WHERE w.relation = s FOR UPDATE;
    IF q.method = 'stepped_blocks' THEN
        PERFORM bdr.stepped_check_not_converting(s);
        RETURN bdr.stepped_blocks_cap(s, q.register, ahead);
    ELSIF q.method IS DISTINCT FROM 'stepped' THEN
        RAISE EXCEPTION 'sequence "%" is not of method stepped', s;
    ELSIF q.parameters ? 'cap' THEN
        RETURN (q.parameters ->> 'cap')::bigint;
    END IF;
    PERFORM bdr.stepped_check_not_converting(s);
    EXECUTE format('ALTER SEQUENCE %s NO CYCLE', s);  -- locks it
    last := COALESCE(pg_sequence_last_value(s), (SELECT w.seqmin FROM pg_sequence w WHERE w.seqrelid = s));
    cap := LEAST(last::numeric + ahead::numeric * (q.parameters ->> 'slots')::int, q.max)::bigint;
    EXECUTE format('ALTER SEQUENCE %s MAXVALUE %s', s, cap);
    UPDATE bdr.sequence w SET parameters = w.parameters || jsonb_build_object('cap', cap)
     WHERE w.relation = s;
    RETURN cap;
END $bdr$;

-- Goes on with other slots from `first`, which lies beyond what bdr.stepped_cap() said on any node.
-- Repeating it changes nothing.
CREATE OR REPLACE FUNCTION bdr.stepped_switch(s regclass, slots int, slot int, first bigint)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    q bdr.sequence;
BEGIN
    SELECT * INTO q FROM bdr.sequence w WHERE w.relation = s FOR UPDATE;
    PERFORM bdr.stepped_check_slot(s, slots, slot);
    IF COALESCE(q.method NOT IN ('stepped', 'stepped_blocks'), true) THEN
        RAISE EXCEPTION 'sequence "%" is not of method stepped', s;
    ELSIF q.parameters @> jsonb_build_object('slots', slots, 'slot', slot, 'first', first)
          AND NOT q.parameters ? 'cap' THEN
        RETURN;
    ELSIF q.method = 'stepped_blocks' THEN
        PERFORM bdr.stepped_check_not_converting(s);
        PERFORM bdr.stepped_blocks_switch(s, q.register, slots, slot, first);
    ELSIF NOT q.parameters ? 'cap' OR first <= (q.parameters ->> 'cap')::bigint THEN
        RAISE EXCEPTION 'sequence "%" may still give out numbers from % on by its old slots', s, first
            USING HINT = 'Call bdr.stepped_cap() on every node, and begin beyond all that they say.';
    ELSE
        PERFORM bdr.stepped_check_not_converting(s);
        PERFORM bdr.stepped_begin_at(s, slots, slot, first, q.max);
    END IF;
    UPDATE bdr.sequence w
       SET parameters = (w.parameters - 'cap') || jsonb_build_object('slots', slots, 'slot', slot, 'first', first)
     WHERE w.relation = s;
END $bdr$;

REVOKE ALL ON FUNCTION bdr.stepped_cap(regclass, bigint), bdr.stepped_switch(regclass, int, int, bigint),
    bdr.stepped_begin_at(regclass, int, int, bigint, bigint), bdr.cap_stepped(regclass, bigint),
    bdr.stepped_give_back() FROM PUBLIC;
