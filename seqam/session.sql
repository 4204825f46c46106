-- What sessions ask of a sequence besides its next number. Each runs with the caller's rights; on a
-- sequence that gives its numbers out itself each is PostgreSQL's own.

-- The last id that this session got from bdr.nextval(s). An error where that cannot be told any more
-- (docs/sequences.md says when), and never another number: INSERT ... RETURNING always knows.
CREATE OR REPLACE FUNCTION bdr.currval(s regclass) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $bdr$
DECLARE
    v        bigint   := pg_catalog.currval(s);
    -- Not one that is gone, which a snapshot from before a conversion shows.
    register regclass := (SELECT q.register FROM bdr.sequence q
                           WHERE q.relation = s AND q.register::text !~ '^[0-9]+$');
    id       bigint;
BEGIN
    IF v >= -4611686018427387904 THEN
        RETURN v;
    END IF;
    IF register IS NOT NULL THEN
        id := @CURRVAL@;
    END IF;
    IF id IS NULL THEN
        RAISE EXCEPTION 'it cannot be told any more which id this session got last from sequence "%"', s
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Use INSERT ... RETURNING.';
    END IF;
    RETURN id;
END $bdr$;

-- The last id that this session got from any sequence.
CREATE OR REPLACE FUNCTION bdr.lastval() RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $bdr$
DECLARE
    v     bigint := pg_catalog.lastval();
    q     record;
    found regclass;
BEGIN
    IF v >= -4611686018427387904 THEN
        RETURN v;
    END IF;
    -- PostgreSQL does not say of which sequence it is.
    FOR q IN SELECT w.relation FROM bdr.sequence w WHERE w.register IS NOT NULL LOOP
        BEGIN
            IF pg_catalog.currval(q.relation) = v THEN
                IF found IS NOT NULL THEN
                    RAISE EXCEPTION 'this session has drawn alike from sequences "%" and "%"', found, q.relation
                        USING ERRCODE = 'ambiguous_parameter', HINT = 'Use bdr.currval(), or INSERT ... RETURNING.';
                END IF;
                found := q.relation;
            END IF;
        EXCEPTION WHEN object_not_in_prerequisite_state OR insufficient_privilege OR undefined_table THEN
            NULL;  -- nothing was drawn from it in this session
        END;
    END LOOP;
    IF found IS NULL THEN
        RAISE EXCEPTION 'it cannot be told any more which id this session got last'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Use INSERT ... RETURNING.';
    END IF;
    RETURN bdr.currval(found);
END $bdr$;

-- Scripts that load rows call this so that the next number lies beyond theirs. Where it does so
-- anyhow, nothing needs to be done; where it does not, only the whole cluster can move on.
CREATE OR REPLACE FUNCTION bdr.setval(s regclass, value bigint, is_called boolean DEFAULT true)
RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $bdr$
DECLARE
    q        bdr.sequence := (SELECT w FROM bdr.sequence w WHERE w.relation = s);
    register regclass     := q.register;
    v        bigint;
    beyond   bigint;
BEGIN
    IF q.relation IS NULL THEN
        RETURN pg_catalog.setval(s, value, is_called);
    END IF;
    v := pg_catalog.pg_sequence_last_value(s);
    beyond := CASE WHEN register IS NULL THEN v ELSE @FLOOR@ END;
    IF (value - CASE WHEN is_called THEN 0 ELSE 1 END <= beyond) THEN
        RETURN value;
    END IF;
    RAISE EXCEPTION 'setval() would let sequence "%" give out numbers that other nodes give out, too', s
        USING ERRCODE = 'object_not_in_prerequisite_state',
              DETAIL = pg_catalog.format('Method %s shares them out between the nodes, and %s.', q.method,
                  CASE WHEN beyond IS NULL THEN 'it is not known where this node is'
                       ELSE pg_catalog.format('all up to %s are behind this node', beyond) END),
              HINT = 'Leave setval() out, or convert the sequence again so that all nodes begin beyond '
                     || value || '.';
END $bdr$;

-- `n` ids at once, in rising order and not always in a row, for libraries that hand them out
-- themselves.
CREATE OR REPLACE FUNCTION bdr.reserve(s regclass, n int) RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE AS $bdr$
DECLARE
    register regclass;
BEGIN
    IF n IS NULL OR n < 1 THEN
        RAISE EXCEPTION 'cannot reserve % ids of sequence "%": 1 or more', COALESCE(n::text, '"null"'), s
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Afterwards the register stays what it is. One that is gone (see bdr.nextval()) belonged to another
    -- method than the present one, which has none.
    RETURN NEXT bdr.nextval(s);
    register := (SELECT q.register FROM bdr.sequence q
                  WHERE q.relation = s AND q.register::text !~ '^[0-9]+$');
    RETURN QUERY SELECT bdr.nextval(s, register) FROM pg_catalog.generate_series(2, n);
END $bdr$;
