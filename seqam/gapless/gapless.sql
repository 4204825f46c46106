-- gapless: 1, 2, 3, ... across the cluster, with no gap, for numbers that people count.
--
-- One node at a time has the *turn*; bdr-server says which. Its next number lies in a row, and who draws
-- updates that row: it is locked until the transaction ends, and a rollback or a crash takes the number
-- back together with the row that it was for. A turn ends when its node's agent has ended it in the row,
-- behind all who drew, and has told bdr-server where the next one begins.
--
-- Whether this node has the turn every isolation level must see, so a register holds its number. While the
-- agent waits for who has drawn it is the number below zero: nobody else draws any more. NULL and 0:
-- this node has no turn. It is UNLOGGED: a crash, a restored backup or a standby that was
-- promoted empties it. A second one holds when the server was started that it was set on, since a clean
-- stop keeps both, also in a copy of the files. The agent sets them again only if bdr-server says that
-- the row is the newest of this sequence.
DO $do$
BEGIN
    IF to_regclass('bdr.gapless') IS NOT NULL THEN
        RETURN;
    END IF;
    CREATE TABLE bdr.gapless (
        relation regclass PRIMARY KEY REFERENCES bdr.sequence ON DELETE CASCADE,
        turn     bigint  NOT NULL DEFAULT 0,      -- the newest that was this node's
        held     boolean NOT NULL DEFAULT false,  -- it has not ended
        next     bigint  NOT NULL DEFAULT 0,
        last     bigint  NOT NULL                 -- no number above it is given out here
    ) WITH (fillfactor = 10);
    -- Whoever may call nextval() may do what it does: take the next number, and nothing else. What a
    -- policy and a trigger's condition name is looked up now, not in the path of whoever draws.
    ALTER TABLE bdr.gapless ENABLE ROW LEVEL SECURITY;
    CREATE POLICY seen ON bdr.gapless FOR SELECT USING (true);
    CREATE POLICY drawn ON bdr.gapless FOR UPDATE
        USING (held AND next <= last AND has_sequence_privilege(relation, 'USAGE, UPDATE'))
        WITH CHECK (held AND next - 1 <= last AND has_sequence_privilege(relation, 'USAGE, UPDATE'));
    CREATE POLICY kept ON bdr.gapless FOR UPDATE USING (has_table_privilege('bdr.gapless', 'INSERT'));
    CREATE FUNCTION bdr.gapless_refuse() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
    BEGIN
        RAISE EXCEPTION 'the next number of sequence "%" is %, and no other', OLD.relation, OLD.next
            USING ERRCODE = 'insufficient_privilege', HINT = 'Call nextval().';
    END $bdr$;
    CREATE TRIGGER by_one BEFORE UPDATE ON bdr.gapless FOR EACH ROW
        WHEN (NEW.next <> OLD.next + 1 AND NOT has_table_privilege('bdr.gapless', 'INSERT'))
        EXECUTE FUNCTION bdr.gapless_refuse();
    ALTER TABLE bdr.gapless ENABLE ALWAYS TRIGGER by_one;
END $do$;

-- The right to INSERT is what tells agents, who may do everything, from others.
CREATE OR REPLACE FUNCTION bdr.gapless_grant() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    agent regrole;
BEGIN
    GRANT SELECT, UPDATE (next) ON bdr.gapless TO PUBLIC;
    FOR agent IN SELECT bdr.agent_roles() LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON bdr.gapless TO %s', agent);
    END LOOP;
END $bdr$;
REVOKE ALL ON FUNCTION bdr.gapless_grant() FROM PUBLIC;
SELECT bdr.gapless_grant();

CREATE OR REPLACE FUNCTION bdr.gapless_started() RETURNS bigint
LANGUAGE sql STABLE AS $bdr$
    SELECT (EXTRACT(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint
$bdr$;

-- The register, NULL if it was set before this server was started.
CREATE OR REPLACE FUNCTION bdr.gapless_open(register regclass) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $bdr$
BEGIN
    IF pg_catalog.pg_sequence_last_value((register::text || '_since')::regclass) = bdr.gapless_started() THEN
        RETURN pg_catalog.pg_sequence_last_value(register);
    END IF;
    RETURN NULL;
END $bdr$;

-- For agents, who may.
CREATE OR REPLACE FUNCTION bdr.gapless_set_open(register regclass, turn bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $bdr$
BEGIN
    PERFORM setval((register::text || '_since')::regclass, bdr.gapless_started());
    PERFORM setval(register, turn);
END $bdr$;

-- Tells the agent that somebody here waits for the turn, for another second. It only ever asks; the
-- agent sees at once what is not in any snapshot.
CREATE OR REPLACE FUNCTION bdr.gapless_ask(s regclass, register regclass) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    ask  regclass;
    till bigint := extract(epoch FROM clock_timestamp()) * 1000 + 1000;
BEGIN
    PERFORM bdr.check_register(s, register, '_ask');
    ask := (register::text || '_ask')::regclass;
    -- One that lies further ahead is of a clock that was set back since.
    IF COALESCE(pg_sequence_last_value(ask) NOT BETWEEN till AND till + 1000, true) THEN
        PERFORM setval(ask, till);
    END IF;
END $bdr$;

-- What bdr.nextval() does for an ordinal of this method.
CREATE OR REPLACE FUNCTION bdr.gapless_next(s regclass, register regclass, v bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $bdr$
DECLARE
    timeout interval := COALESCE(NULLIF(pg_catalog.current_setting('bdr.sequence_timeout', true), ''),
                                 '5s')::interval;
    until   timestamptz;
    asked   timestamptz;
    drawn   text     := pg_catalog.format('bdr.gapless_turn_%s', s::oid);
    sign    bigint;
    m       bigint;
    g       record;
    id      bigint;
BEGIN
    LOOP
        m := bdr.gapless_open(register);
        -- A transaction that has drawn goes on, since the turn ends behind it.
        sign := CASE WHEN pg_catalog.current_setting(drawn, true) = (-m)::text THEN -1 ELSE 1 END;
        IF sign * m > 0 THEN
            -- Where it waited for another transaction all conditions are looked at once more, the
            -- register as well; and where they do not hold the row is not locked.
            UPDATE bdr.gapless w SET next = w.next + 1
             WHERE w.relation = s AND w.held AND w.next <= w.last
               AND w.turn = sign * pg_catalog.pg_sequence_last_value(register)
            RETURNING w.next - 1 INTO id;
            IF FOUND THEN
                PERFORM pg_catalog.set_config(drawn, (sign * m)::text, true),
                        pg_catalog.set_config(pg_catalog.format('bdr.gapless_%s', s::oid),
                                              pg_catalog.format('%s:%s', v, id), false);
                RETURN id;
            END IF;
        END IF;
        SELECT * INTO g FROM bdr.gapless w WHERE w.relation = s;
        IF NOT FOUND OR register IS NULL THEN
            RAISE EXCEPTION 'sequence "%" was converted since this transaction began, or is no sequence '
                            'of method gapless', s
                USING ERRCODE = 'serialization_failure', HINT = 'Repeat the transaction.';
        ELSIF g.held AND g.turn = sign * m AND g.next > g.last THEN
            RAISE EXCEPTION 'sequence "%" has no number above % left on this node', s, g.last
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = 'It is at its MAXVALUE, or being converted: bring that to its end.';
        ELSIF m > 0 AND m = pg_catalog.pg_sequence_last_value(register)
              AND pg_catalog.current_setting('transaction_isolation') <> 'read committed' THEN
            RAISE EXCEPTION 'the turn of sequence "%" came to this node since this transaction began', s
                USING ERRCODE = 'serialization_failure', HINT = 'Repeat the transaction.';
        END IF;
        until := COALESCE(until, pg_catalog.clock_timestamp() + timeout);
        IF pg_catalog.clock_timestamp() >= until THEN
            RAISE EXCEPTION 'the turn of sequence "%" did not come to this node within %', s, timeout
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = 'A transaction on the node that has it may have drawn and not ended, or that '
                             'node, bdr-server or this node''s agent is away: see "bdrctl sequence show". '
                             'SET bdr.sequence_timeout waits longer.';
        END IF;
        IF asked IS NULL OR pg_catalog.clock_timestamp() > asked + '500ms' THEN
            PERFORM bdr.gapless_ask(s, register);
            asked := pg_catalog.clock_timestamp();
        END IF;
        PERFORM pg_catalog.pg_sleep(0.005);
    END LOOP;
END $bdr$;

-- What this session was given for ordinal `v`; a rollback takes that back, too.
CREATE OR REPLACE FUNCTION bdr.gapless_currval(s regclass, v bigint) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $bdr$
    SELECT CASE WHEN split_part(g, ':', 1) = v::text THEN split_part(g, ':', 2)::bigint END
      FROM current_setting(format('bdr.gapless_%s', s::oid), true) g
$bdr$;

-- Everybody may read this table, also where policies of others are not to hide anything.
CREATE OR REPLACE FUNCTION bdr.gapless_ceiling(s regclass) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET row_security = on AS $bdr$
BEGIN
    RETURN (SELECT g.next - 1 FROM bdr.gapless g WHERE g.relation = s);
END $bdr$;

CREATE OR REPLACE FUNCTION bdr.begin_gapless(s regclass, number int, node int, first bigint,
                                             parameters jsonb) RETURNS regclass
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    q     bdr.sequence := (SELECT w FROM bdr.sequence w WHERE w.relation = s);
    name  text         := format('bdr.sequence_%s', number);
    agent regrole;
BEGIN
    IF q.increment <> 1 THEN
        RAISE EXCEPTION 'sequence "%" has INCREMENT %, and gapless counts by one', s, q.increment
            USING HINT = 'Choose another method, or set its INCREMENT to 1 first.';
    ELSIF first < 0 THEN
        RAISE EXCEPTION 'sequence "%" would begin at %, and gapless gives out no numbers below 0', s, first;
    END IF;
    PERFORM bdr.make_registers(name, '{_relation}'),
            bdr.make_registers(name, '{"",_since,_ask}', for_agents => true);
    PERFORM setval(format('%s_relation', name)::regclass, s::oid::bigint);
    INSERT INTO bdr.gapless (relation, last) VALUES (s, q.max);
    FOR agent IN SELECT bdr.agent_roles() LOOP
        EXECUTE format('GRANT SELECT ON SEQUENCE %s TO %s', s, agent);
    END LOOP;
    RETURN name::regclass;
END $bdr$;

-- See bdr.cap_sequence(). Waits for who has drawn.
CREATE OR REPLACE FUNCTION bdr.cap_gapless(s regclass, last bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    g bdr.gapless;
BEGIN
    SELECT * INTO STRICT g FROM bdr.gapless w WHERE w.relation = s FOR UPDATE;
    IF g.next - 1 > cap_gapless.last THEN
        PERFORM bdr.stepped_refuse_cap(s, g.next - 1, cap_gapless.last);
    END IF;
    UPDATE bdr.gapless w SET last = LEAST(cap_gapless.last, (SELECT q.max FROM bdr.sequence q WHERE q.relation = s))
     WHERE w.relation = s;
END $bdr$;

REVOKE ALL ON FUNCTION bdr.cap_gapless(regclass, bigint) FROM PUBLIC;
