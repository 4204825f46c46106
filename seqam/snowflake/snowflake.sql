-- snowflake: 41 bits of milliseconds since 2024-01-01, 10 of the node, 12 of a counter.
--
-- Milliseconds and counter together are *ticks*, 4096 in a millisecond, and a *piece* is what lies in
-- 64 ms: 2^18 ticks. Ordinals come in *stretches* of as many. One register holds the only mapping
-- that is in force: piece * 2^28 + stretch. An ordinal of that stretch has the tick at the same place
-- in that piece; an ordinal of another stretch, drawn by a session that was held up, say, is a gap.
--
-- Why no id comes twice, whatever the clock shows and wherever a session is stopped: the sequence
-- gives each ordinal once. The register never goes back to a piece that it has been on (who moves it
-- holds a lock, and takes the piece of the clock or the next one, whichever is later), and a piece
-- is moved to together with its one stretch. So a tick belongs to one ordinal. The node's id is in
-- the ordinal itself. In which order a session drew its ordinal and read the register is the same.
--
-- A register that was lost with the node's disk, or is as old as a backup, begins again with the
-- piece that the clock is in: bdr.nextval() looks at the clock each time.

-- The id of ordinal `v` by register `m`; NULL if that is on another stretch, or empty.
CREATE OR REPLACE FUNCTION bdr.snowflake_id(m bigint, v bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $bdr$
    SELECT CASE WHEN (v >> 18) & 2147483647 = m & 268435455
                THEN (m & -268435456) + ((v >> 37) & 4190208) + ((v & 258048) << 10) + (v & 4095) END
$bdr$;

-- Moves the register on if the sequence has left its stretch or the clock its piece. Whoever calls,
-- it does no more than that, and it gives nothing out.
CREATE OR REPLACE FUNCTION bdr.snowflake_advance(s regclass, register regclass) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    m       bigint;
    stretch bigint;
    piece   bigint;
    began   regclass;
    next    bigint;
BEGIN
    PERFORM bdr.check_register(s, register, '_began');
    -- The lock must not last as long as the transaction, and must go if this is cancelled: those of a
    -- block that ends by an exception go with it, and setval() does not.
    BEGIN
        FOR attempt IN 1 .. 2 LOOP
            m := pg_sequence_last_value(register);
            stretch := (COALESCE(pg_sequence_last_value(s) + 1, 0) >> 18) & 268435455;
            piece := floor(tstzrange_subdiff(clock_timestamp(), '2024-01-01 00:00:00+00') * 15.625);
            IF m & 268435455 = stretch AND m >> 28 >= piece THEN
                EXIT;
            ELSIF attempt = 2 THEN
                next := (GREATEST(piece, COALESCE(m >> 28, -1) + 1) << 28) + stretch;
                -- By a function, which does not go by the transaction's snapshot.
                IF next > (SELECT p.maximum_value FROM pg_sequence_parameters(register) p) THEN
                    RAISE EXCEPTION 'sequence "%" is being converted to another method, and this node has '
                                    'given out all that it may until then', s
                        USING ERRCODE = 'object_not_in_prerequisite_state',
                              HINT = 'Bring the conversion to its end: repeat "bdrctl sequence convert".';
                END IF;
                began := (register::text || '_began')::regclass;
                PERFORM setval(began, 9223372036854775807);
                PERFORM setval(register, next);
                PERFORM setval(began, COALESCE(pg_sequence_last_value(s) & 562949953421311, 0));
            ELSIF m & 268435455 = stretch THEN
                -- Only the clock went on. What others have is good until one of them has moved it.
                PERFORM FROM bdr.sequence_lock l WHERE l.register = snowflake_advance.register
                    FOR UPDATE SKIP LOCKED;
                EXIT WHEN NOT FOUND;
            ELSE
                PERFORM FROM bdr.sequence_lock l WHERE l.register = snowflake_advance.register FOR UPDATE;
                IF NOT FOUND THEN
                    RAISE EXCEPTION 'sequence "%" was converted since this transaction began', s
                        USING ERRCODE = 'serialization_failure', HINT = 'Repeat the transaction.';
                END IF;
            END IF;
        END LOOP;
        RAISE EXCEPTION USING ERRCODE = 'BDR00';
    EXCEPTION WHEN SQLSTATE 'BDR00' THEN
        NULL;
    END;
END $bdr$;

-- What bdr.nextval() made of ordinal `v`; NULL if it drew before the register came to where it is, as
-- it may have read it then or before. bdr.sequence_N_began holds the last ordinal that anybody drew
-- until then, or the highest number of all while the register is being moved; it belongs to what the
-- register shows both before and after.
CREATE OR REPLACE FUNCTION bdr.snowflake_currval(register regclass, v bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $bdr$
DECLARE
    m     bigint := pg_catalog.pg_sequence_last_value(register);
    began bigint := pg_catalog.pg_sequence_last_value((register::text || '_began')::regclass);
BEGIN
    IF v & 562949953421311 > began AND m = pg_catalog.pg_sequence_last_value(register) THEN
        RETURN bdr.snowflake_id(m, v);
    END IF;
    RETURN NULL;
END $bdr$;

-- What bdr.nextval() does where the register is not on the ordinal's stretch, or not on the clock's
-- piece.
CREATE OR REPLACE FUNCTION bdr.snowflake_next(s regclass, register regclass, v bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $bdr$
DECLARE
    id bigint;
BEGIN
    LOOP
        PERFORM bdr.snowflake_advance(s, register);
        id := bdr.snowflake_id(pg_catalog.pg_sequence_last_value(register), v);
        IF id IS NOT NULL THEN
            RETURN id;
        END IF;
        v := pg_catalog.nextval(s);
        IF v >= -4611686018427387904 THEN
            RETURN v;
        END IF;
        id := bdr.snowflake_id(pg_catalog.pg_sequence_last_value(register), v);
        IF id IS NOT NULL THEN
            RETURN id;
        END IF;
    END LOOP;
END $bdr$;

CREATE OR REPLACE FUNCTION bdr.begin_snowflake(s regclass, number int, node int, first bigint,
                                               parameters jsonb) RETURNS regclass
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    q      bdr.sequence := (SELECT w FROM bdr.sequence w WHERE w.relation = s);
    narrow text := (SELECT format('%s.%I', u.relation, u.attname) FROM bdr.sequence_columns(s) u
                      JOIN pg_attribute a ON a.attrelid = u.relation AND a.attnum = u.attnum
                     WHERE a.atttypid IN ('smallint'::regtype, 'integer'::regtype) LIMIT 1);
    -- The first piece of which nobody can have an id.
    piece  bigint := (GREATEST(first, 1) + 268435455) >> 28;
    name   text := format('bdr.sequence_%s', number);
BEGIN
    IF narrow IS NOT NULL OR q.data_type <> 'bigint'::regtype THEN
        RAISE EXCEPTION 'snowflake ids take 63 bits: sequence "%" is of type %, and column % too small', s,
                        q.data_type, COALESCE(narrow, 'none is')
            USING HINT = 'ALTER TABLE ... ALTER COLUMN ... TYPE bigint first, or choose another method.';
    ELSIF q.increment <> 1 THEN
        RAISE EXCEPTION 'sequence "%" has INCREMENT %, and snowflake ids follow each other as time does', s,
                        q.increment
            USING HINT = 'Choose another method, or set its INCREMENT to 1 first.';
    ELSIF node NOT BETWEEN 1 AND 1023 THEN
        RAISE EXCEPTION 'node id % is not one of 1 to 1023', node;
    ELSIF piece > tstzrange_subdiff(clock_timestamp(), '2024-01-01 00:00:00+00') * 15.625 + 1350000 THEN
        RAISE EXCEPTION 'sequence "%" would begin at %, which as a snowflake id is a day ahead of the clock',
                        s, first
            USING HINT = 'Choose another method.';
    END IF;
    -- What a session keeps for later would come out of order.
    EXECUTE format('ALTER SEQUENCE %s CACHE 1', s);
    PERFORM bdr.make_registers(name, '{"",_began,_relation}');
    PERFORM setval(format('%s_relation', name)::regclass, s::oid::bigint);
    INSERT INTO bdr.sequence_lock VALUES (name::regclass) ON CONFLICT DO NOTHING;
    -- On no stretch: the first call moves it on.
    PERFORM setval(name::regclass, (piece << 28) - 1);
    RETURN name::regclass;
END $bdr$;

-- See bdr.cap_sequence(). The register ends at the last piece that has no id above `last`. Who has
-- read it keeps a lock on it until his transaction ends, so nobody is beyond once this has its own.
CREATE OR REPLACE FUNCTION bdr.cap_snowflake(s regclass, last bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    register regclass := (SELECT w.register FROM bdr.sequence w WHERE w.relation = s);
    cap      bigint   := (((last >> 28) + CASE WHEN last & 268435455 = 268435455 THEN 1 ELSE 0 END) << 28) - 1;
BEGIN
    EXECUTE format('ALTER SEQUENCE %s NO CYCLE', register);  -- locks it
    IF pg_sequence_last_value(register) > cap THEN
        RAISE EXCEPTION 'sequence "%" cannot end at % on this node: it is at % already', s, last,
                        pg_sequence_last_value(register) & -268435456
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Convert it again: that begins beyond.';
    END IF;
    EXECUTE format('ALTER SEQUENCE %s MAXVALUE %s', register, cap);
END $bdr$;
REVOKE ALL ON FUNCTION bdr.cap_snowflake(regclass, bigint) FROM PUBLIC;

-- What is in an id: any id, also another node's.
CREATE OR REPLACE FUNCTION bdr.snowflake_time(id bigint) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp AS $bdr$
    SELECT to_timestamp(1704067200 + (id >> 22) / 1000.0)
$bdr$;

CREATE OR REPLACE FUNCTION bdr.snowflake_node(id bigint) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp AS $bdr$
    SELECT ((id >> 12) & 1023)::int
$bdr$;

CREATE OR REPLACE FUNCTION bdr.snowflake_counter(id bigint) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp AS $bdr$
    SELECT (id & 4095)::int
$bdr$;

-- The lowest id of a time, for WHERE id >= bdr.snowflake_at('2026-01-01').
CREATE OR REPLACE FUNCTION bdr.snowflake_at(at timestamptz) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp AS $bdr$
    SELECT GREATEST(floor(tstzrange_subdiff(at, '2024-01-01 00:00:00+00') * 1000), 0)::bigint << 22
$bdr$;
