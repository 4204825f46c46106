-- galloc: ids in chunks that bdr-server grants, each to one node.
--
-- Ordinals come in pieces of 2^k, and a piece maps to one chunk of as many ids. Which to which the
-- agent writes down in registers before anybody gets there: sequences of this schema, so that every
-- isolation level sees them. A register holds piece and chunk in one number, since two that belong
-- together could be read torn; layout.h says how. They are UNLOGGED: a crash, a restored backup or a
-- standby that lagged empties them, so that no chunk can be used a second time.

-- The id of ordinal `v` by register `m`; NULL if that is of another piece, or empty.
CREATE OR REPLACE FUNCTION bdr.galloc_id(m bigint, v bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    kind      int    := (v >> 46) & 7;
    unit      int    := 2 + 4 * kind;                      -- a chunk begins at a multiple of 2^unit
    id_bits   int    := ('{14,26,36}'::int[])[kind + 1];   -- that count these units
    shift     int    := unit + ((m >> 60) & 14)::int;      -- pieces of 2^shift
    mask      bigint := (1::bigint << (61 - id_bits)) - 1;
BEGIN
    IF ((v & 70368744177663) >> shift) & mask = (m >> id_bits) & mask THEN
        RETURN ((m & ((1::bigint << id_bits) - 1)) << unit) + (v & ((1::bigint << shift) - 1));
    END IF;
    RETURN NULL;
END $bdr$;

-- What bdr.nextval() does where the first register does not have the ordinal's piece: looks at the
-- others, and waits for the agent if it has not come this far.
CREATE OR REPLACE FUNCTION bdr.galloc_wait(s regclass, register regclass, v bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $bdr$
DECLARE
    name      text        := (SELECT pg_catalog.format('bdr.sequence_%s', q.number)
                                FROM bdr.sequence q WHERE q.relation = s AND q.method = 'galloc');
    timeout   interval    := COALESCE(NULLIF(pg_catalog.current_setting('bdr.sequence_timeout', true), ''),
                                      '5s')::interval;
    until     timestamptz := pg_catalog.clock_timestamp() + timeout;
    ordinal   bigint;
    behind    bigint;
    id        bigint;
    i         int;
BEGIN
    IF name IS NULL OR register IS DISTINCT FROM name::regclass THEN
        RAISE EXCEPTION 'sequence "%" was converted since this transaction began, or is no sequence '
                        'of method galloc', s
            USING ERRCODE = 'serialization_failure', HINT = 'Repeat the transaction.';
    END IF;
    LOOP
        ordinal := v & 70368744177663;
        -- Written after the piece that ends there. What lies long before it cannot be in a register
        -- any more; a number in there that seems to fit is another piece's.
        behind := pg_catalog.pg_sequence_last_value((name || '_end')::regclass) - ordinal;
        IF behind > 0 THEN
            FOR i IN 0 .. 3 LOOP
                EXIT WHEN behind > 8589934592;
                id := bdr.galloc_id(pg_catalog.pg_sequence_last_value(
                    (name || CASE i WHEN 0 THEN '' ELSE '_' || i END)::regclass), v);
                IF id IS NOT NULL THEN
                    RETURN id;
                END IF;
            END LOOP;
        END IF;
        -- Of what was drawn long ago, or beyond: the agent may be away, or have lost its way.
        IF pg_catalog.clock_timestamp() >= until + (CASE WHEN behind > 0 THEN '1s' ELSE '0' END)::interval THEN
            RAISE EXCEPTION 'no ids are left for sequence "%" on this node, and none came within %', s, timeout
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = 'Is bdr-agent of this node running, and does it reach bdr-server? See '
                             '"bdrctl sequence show". SET bdr.sequence_timeout waits longer.';
        ELSIF behind > 0 THEN
            -- Its piece was used up, or passed over: that is a gap.
            v := pg_catalog.nextval(s);
            IF v >= -4611686018427387904 THEN
                RETURN v;
            END IF;
        ELSE
            PERFORM pg_catalog.pg_sleep(0.002);
        END IF;
    END LOOP;
END $bdr$;

-- The id of an ordinal that was drawn before, while a register still has its piece.
CREATE OR REPLACE FUNCTION bdr.galloc_currval(s regclass, register regclass, v bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    behind bigint;
    id     bigint;
    i      int;
BEGIN
    behind := pg_sequence_last_value((register::text || '_end')::regclass) - (v & 70368744177663);
    FOR i IN 0 .. 3 LOOP
        EXIT WHEN behind <= 0 OR behind > 8589934592;
        id := bdr.galloc_id(pg_sequence_last_value((register::text || CASE i WHEN 0 THEN '' ELSE '_' || i END)
                                                   ::regclass), v);
        EXIT WHEN id IS NOT NULL;
    END LOOP;
    RETURN id;
END $bdr$;

CREATE OR REPLACE FUNCTION bdr.begin_galloc(s regclass, number int, node int, first bigint,
                                            parameters jsonb) RETURNS regclass
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    q     bdr.sequence := (SELECT w FROM bdr.sequence w WHERE w.relation = s);
    kind  int := CASE q.data_type WHEN 'smallint'::regtype THEN 0 WHEN 'integer'::regtype THEN 1 ELSE 2 END;
    name  text := format('bdr.sequence_%s', number);
    agent regrole;
BEGIN
    IF q.increment <> 1 THEN
        RAISE EXCEPTION 'sequence "%" has INCREMENT %, and galloc counts by one', s, q.increment
            USING HINT = 'Choose another method, or set its INCREMENT to 1 first.';
    ELSIF first < 0 THEN
        RAISE EXCEPTION 'sequence "%" would begin at %, and galloc gives out no ids below 0', s, first;
    ELSIF first >= 1::bigint << 45 THEN
        RAISE EXCEPTION 'sequence "%" would begin at %, and galloc ends at %', s, first, (1::bigint << 46) - 1
            USING HINT = 'Choose another method.';
    END IF;
    PERFORM bdr.make_registers(name, '{"",_1,_2,_3,_end}', for_agents => true);
    FOR agent IN SELECT bdr.agent_roles() LOOP
        EXECUTE format('GRANT SELECT ON SEQUENCE %s TO %s', s, agent);
    END LOOP;
    UPDATE bdr.sequence w SET parameters = w.parameters || jsonb_build_object('kind', kind)
     WHERE w.relation = s;
    RETURN name::regclass;
END $bdr$;
