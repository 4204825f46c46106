-- stepped_blocks: blocks of `block` consecutive numbers, dealt round to `slots` nodes.
--
-- Ordinals are counted off in blocks, and the node's i-th block is number first/block + i * slots +
-- slot of all blocks. All of that is in one register, so that no table is read and nothing can be
-- read torn:
--
--     bits 0-3    round: 0, and one more each time that the slots change; the ordinal has it, too
--     bit  4      set while numbers are capped, before the slots change
--     bits 5-9    log2 of the block's size
--     bits 10-19  slots - 1
--     bits 20-62  number of this node's first block in this round
--
-- Two nodes never meet, since no block is dealt twice, and an ordinal is drawn once. An ordinal of
-- another round than the register's is a gap. Until the slots change on all nodes, no node goes
-- beyond what it said to bdr.stepped_cap(): who read the register before bit 4 was set had drawn
-- before, so lies below what the sequence had come to then; who reads it later looks at the cap, in
-- bdr.sequence_N_cap: last ordinal * 2, + 1 once it is final.

CREATE OR REPLACE FUNCTION bdr.stepped_blocks_id(m bigint, v bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $bdr$
    SELECT (v & 4398046511103) + (((m >> 20) + ((v & 4398046511103) >> ((m >> 5) & 31)::int4)
                                               * ((m >> 10) & 1023)) << ((m >> 5) & 31)::int4)
$bdr$;

-- The same; NULL if the ordinal is of another round, or beyond the cap, so that nobody got that.
CREATE OR REPLACE FUNCTION bdr.stepped_blocks_known(register regclass, v bigint) RETURNS bigint
LANGUAGE sql VOLATILE AS $bdr$
    SELECT CASE WHEN (v >> 42) & 15 = m & 15
                     AND (m & 16 = 0 OR v & 4398046511103 <= pg_catalog.pg_sequence_last_value(
                             (register::text || '_cap')::regclass) >> 1)
                THEN bdr.stepped_blocks_id(m, v) END
      FROM (SELECT pg_catalog.pg_sequence_last_value(register) AS m OFFSET 0) r
$bdr$;

CREATE OR REPLACE FUNCTION bdr.stepped_blocks_register(s regclass, round int, block bigint, slots int,
                                                       slot int, first bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    log2        int    := (SELECT i FROM generate_series(0, 30) i WHERE 1::bigint << i = block);
    first_block bigint;
BEGIN
    IF log2 IS NULL THEN
        RAISE EXCEPTION 'sequence "%" cannot have blocks of %: a power of two, up to 2^30', s,
                        COALESCE(block::text, '"null"');
    ELSIF first < 0 THEN
        RAISE EXCEPTION 'sequence "%" would begin at %, and stepped_blocks gives out no numbers below 0',
                        s, first;
    ELSIF round > 15 THEN
        RAISE EXCEPTION 'the slots of sequence "%" have changed 15 times, and cannot once more', s
            USING HINT = 'Convert it to another method.';
    END IF;
    first_block := ((first - 1) >> log2) + 1 + slot;
    IF first_block >= 1::bigint << 43 OR first >= 1::bigint << 61 THEN
        RAISE EXCEPTION 'sequence "%" would begin at %, too far for blocks of %', s, first, block
            USING HINT = 'Choose larger blocks, or another method.';
    END IF;
    RETURN (first_block << 20) + ((slots - 1) << 10) + (log2 << 5) + round;
END $bdr$;

CREATE OR REPLACE FUNCTION bdr.begin_stepped_blocks(s regclass, number int, node int, first bigint,
                                                    parameters jsonb) RETURNS regclass
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    q    bdr.sequence := (SELECT w FROM bdr.sequence w WHERE w.relation = s);
    name text         := format('bdr.sequence_%s', number);
BEGIN
    PERFORM bdr.stepped_check_slot(s, (parameters ->> 'slots')::int, (parameters ->> 'slot')::int);
    IF q.increment <> 1 THEN
        RAISE EXCEPTION 'sequence "%" has INCREMENT %, and stepped_blocks counts by one', s, q.increment
            USING HINT = 'Choose another method, or set its INCREMENT to 1 first.';
    END IF;
    -- What a session keeps for later would come out of order.
    EXECUTE format('ALTER SEQUENCE %s CACHE 1', s);
    PERFORM bdr.make_registers(name, '{"",_cap,_relation}');
    INSERT INTO bdr.sequence_lock VALUES (name::regclass) ON CONFLICT DO NOTHING;
    PERFORM setval(format('%s_relation', name)::regclass, s::oid::bigint),
            setval(name::regclass, bdr.stepped_blocks_register(
                s, 0, (parameters ->> 'block')::bigint, (parameters ->> 'slots')::int,
                (parameters ->> 'slot')::int, first));
    RETURN name::regclass;
END $bdr$;

-- See bdr.cap_sequence(). The sequence ends at the last ordinal of which the number is not above
-- `last`; unlike bdr.stepped_blocks_cap() that can be undone by a rollback.
CREATE OR REPLACE FUNCTION bdr.cap_stepped_blocks(s regclass, last bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    q       bdr.sequence;
    m       bigint;
    first   bigint;
    v       bigint;
    log2    int;
    block   bigint;  -- the one with `last`, counted from the node's first
    ordinal bigint;
    drawn   bigint;
BEGIN
    SELECT * INTO q FROM bdr.sequence w WHERE w.relation = s FOR UPDATE;
    EXECUTE format('ALTER SEQUENCE %s NO CYCLE', s);  -- locks it
    m := pg_sequence_last_value(q.register);
    first := (SELECT w.seqstart FROM pg_sequence w WHERE w.seqrelid = s) >> 46 << 46;
    v := pg_sequence_last_value(s);
    -- Of an earlier round it gives out nothing more.
    drawn := CASE WHEN (v >> 42) & 15 = m & 15 THEN v & 4398046511103 ELSE 0 END;
    log2 := (m >> 5) & 31;
    block := (last >> log2) - (m >> 20);
    ordinal := CASE WHEN block < 0 THEN -1
                    WHEN block % (((m >> 10) & 1023) + 1) = 0
                    THEN (block / (((m >> 10) & 1023) + 1) << log2) + (last & ((1::bigint << log2) - 1))
                    ELSE (block / (((m >> 10) & 1023) + 1) + 1 << log2) - 1 END;
    IF drawn > ordinal THEN
        PERFORM bdr.stepped_refuse_cap(s, bdr.stepped_blocks_id(m, drawn), last);
    END IF;
    EXECUTE format('ALTER SEQUENCE %s MAXVALUE %s', s,
                   first + ((m & 15) << 42) + LEAST(ordinal, 4398046511103));
END $bdr$;

-- See bdr.stepped_cap(). Its steps are seen by everybody at once and stay if the transaction fails;
-- after any of them it can be done again.
CREATE OR REPLACE FUNCTION bdr.stepped_blocks_cap(s regclass, register regclass, ahead bigint)
RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    cap_register regclass := (register::text || '_cap')::regclass;
    m            bigint   := pg_sequence_last_value(register);
    cap          bigint   := pg_sequence_last_value(cap_register);
    drawn        bigint;
BEGIN
    IF m & 16 = 0 THEN
        drawn := COALESCE(pg_sequence_last_value(s), 0) & 4398046511103;
        cap := LEAST(drawn + ahead, 4398046511103) * 2;
        PERFORM setval(cap_register, cap);
        PERFORM setval(register, m | 16);
    END IF;
    IF cap & 1 = 0 THEN
        drawn := COALESCE(pg_sequence_last_value(s), 0) & 4398046511103;
        cap := GREATEST(cap, drawn * 2) + 1;
        PERFORM setval(cap_register, cap);
    END IF;
    RETURN bdr.stepped_blocks_id(m, cap >> 1);
END $bdr$;

-- Brings the sequence to the register's round, if it is on an earlier one. Whoever calls, it does no
-- more than that.
CREATE OR REPLACE FUNCTION bdr.stepped_blocks_enter_round(s regclass, register regclass) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    first bigint := (SELECT w.seqstart FROM pg_sequence w WHERE w.seqrelid = s);
    round bigint;
BEGIN
    PERFORM bdr.check_register(s, register, '_cap');
    -- As in bdr.snowflake_advance(). Who was held up here must not set the sequence back.
    BEGIN
        PERFORM FROM bdr.sequence_lock l WHERE l.register = stepped_blocks_enter_round.register FOR UPDATE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'sequence "%" was converted since this transaction began', s
                USING ERRCODE = 'serialization_failure', HINT = 'Repeat the transaction.';
        END IF;
        round := pg_sequence_last_value(register) & 15;
        IF (COALESCE(pg_sequence_last_value(s), first) >> 42) & 15 < round THEN
            PERFORM setval(s, (first >> 46 << 46) + (round << 42));
        END IF;
        RAISE EXCEPTION USING ERRCODE = 'BDR00';
    EXCEPTION WHEN SQLSTATE 'BDR00' THEN
        NULL;
    END;
END $bdr$;

-- See bdr.stepped_switch().
CREATE OR REPLACE FUNCTION bdr.stepped_blocks_switch(s regclass, register regclass, slots int, slot int,
                                                     first bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    m       bigint := pg_sequence_last_value(register);
    cap     bigint := pg_sequence_last_value((register::text || '_cap')::regclass);
    block   bigint := 1::bigint << ((m >> 5) & 31)::int;
    wanted  bigint := bdr.stepped_blocks_register(s, (m & 15)::int + (m >> 4 & 1)::int, block, slots, slot,
                                                  first);
BEGIN
    IF m & 16 <> 0 THEN
        IF cap & 1 = 0 OR first <= bdr.stepped_blocks_id(m, cap >> 1) THEN
            RAISE EXCEPTION 'sequence "%" may still give out numbers from % on by its old slots', s, first
                USING HINT = 'Call bdr.stepped_cap() on every node, and begin beyond all that they say.';
        END IF;
        PERFORM setval(register, wanted);
    ELSIF m <> wanted THEN
        RAISE EXCEPTION 'sequence "%" may still give out numbers from % on by its old slots', s, first
            USING HINT = 'Call bdr.stepped_cap() on every node, and begin beyond all that they say.';
    END IF;
    PERFORM bdr.stepped_blocks_enter_round(s, register);
END $bdr$;

-- What bdr.nextval() does where the register is of another round than the ordinal, or capped.
CREATE OR REPLACE FUNCTION bdr.stepped_blocks_next(s regclass, register regclass, v bigint)
RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $bdr$
DECLARE
    timeout interval    := COALESCE(NULLIF(pg_catalog.current_setting('bdr.sequence_timeout', true), ''),
                                    '5s')::interval;
    until   timestamptz := pg_catalog.clock_timestamp() + timeout;
    m       bigint;
    round   bigint;
BEGIN
    LOOP
        m := pg_catalog.pg_sequence_last_value(register);
        round := (v >> 42) & 15;
        IF m IS NULL THEN
            PERFORM bdr.stepped_blocks_enter_round(s, register);  -- says why
        END IF;
        IF m IS NULL OR round > m & 15 THEN
            RAISE EXCEPTION 'sequence "%" has used up what its slots hold', s
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = 'Change its number of slots, or convert it to another method.';
        ELSIF round < m & 15 THEN
            v := pg_catalog.nextval(s);
            IF v >= -4611686018427387904 THEN
                RETURN v;
            ELSIF (v >> 42) & 15 < m & 15 THEN
                PERFORM bdr.stepped_blocks_enter_round(s, register);
            END IF;
        ELSIF m & 16 = 0 OR v & 4398046511103
                            <= pg_catalog.pg_sequence_last_value((register::text || '_cap')::regclass) >> 1 THEN
            RETURN bdr.stepped_blocks_id(m, v);
        ELSIF pg_catalog.clock_timestamp() >= until THEN
            RAISE EXCEPTION 'the slots of sequence "%" are being changed, and this node has drawn all that '
                            'it may until then', s
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = 'Change the slots once more: that was not brought to its end. '
                             'SET bdr.sequence_timeout waits longer.';
        ELSE
            PERFORM pg_catalog.pg_sleep(0.002);
        END IF;
    END LOOP;
END $bdr$;

REVOKE ALL ON FUNCTION bdr.stepped_blocks_cap(regclass, regclass, bigint),
    bdr.cap_stepped_blocks(regclass, bigint),
    bdr.stepped_blocks_switch(regclass, regclass, int, int, bigint) FROM PUBLIC;
