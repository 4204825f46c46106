-- The next number of a sequence by its method. Runs with the rights and the search path of whoever
-- calls, so that nextval() itself asks for the rights (and is named in full: a role may have another
-- nextval() in its path). It is SQL that PostgreSQL puts in place of its call: nextval() and the read
-- of the register are plain calls, in this order.
CREATE OR REPLACE FUNCTION bdr.sequence_id(v bigint, m bigint, s regclass, register regclass)
RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $bdr$
BEGIN
    RETURN CASE v >> 59
@QUICK@        ELSE bdr.sequence_id_otherwise(v, m, s, register)
    END;
END $bdr$;

CREATE OR REPLACE FUNCTION bdr.sequence_id_otherwise(v bigint, m bigint, s regclass, register regclass)
RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $bdr$
BEGIN
    IF v >= -4611686018427387904 THEN
        RETURN v;
    END IF;
@BRANCHES@    RAISE EXCEPTION 'sequence "%" gave out %, which is of no method', s, v
        USING ERRCODE = 'data_corrupted';
END $bdr$;

CREATE OR REPLACE FUNCTION bdr.nextval(s regclass, register regclass) RETURNS bigint
LANGUAGE sql VOLATILE AS $bdr$
    SELECT bdr.sequence_id(pg_catalog.nextval(s), pg_catalog.pg_sequence_last_value(register), s,
                           register)
$bdr$;

-- The call that a column's default has: the method's own if it has one.
CREATE OR REPLACE FUNCTION bdr.sequence_call(method text, s regclass, register regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $bdr$
    SELECT format('bdr.%I(%L::regclass, %L::regclass)',
                  CASE WHEN to_regprocedure(format('bdr.%I(regclass, regclass)', 'nextval_' || method)) IS NULL
                       THEN 'nextval' ELSE 'nextval_' || method END, s, register)
$bdr$;

-- The same for whoever knows the sequence alone. It draws first, as that keeps the sequence from
-- being converted until the transaction ends. The row may be as of a snapshot from before the last
-- conversion all the same; its register is gone then, and shown as a number.
CREATE OR REPLACE FUNCTION bdr.nextval(s regclass) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $bdr$
DECLARE
    v        bigint := pg_catalog.nextval(s);
    register regclass;
BEGIN
    IF v >= -4611686018427387904 THEN
        RETURN v;
    END IF;
    register := (SELECT q.register FROM bdr.sequence q WHERE q.relation = s);
    IF register::text ~ '^[0-9]+$' THEN
        RAISE EXCEPTION 'sequence "%" was converted since this transaction began', s
            USING ERRCODE = 'serialization_failure', HINT = 'Repeat the transaction.';
    END IF;
    RETURN bdr.sequence_id(v, pg_catalog.pg_sequence_last_value(register), s, register);
END $bdr$;

-- For functions that move registers with the rights of their owner, whoever calls them: that this is
-- the register of this sequence, of the method whose registers have one called _KIN beside them (and
-- one called _relation, with the sequence's oid).
CREATE OR REPLACE FUNCTION bdr.check_register(s regclass, register regclass, kin text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
BEGIN
    IF register IS NULL THEN
        RAISE EXCEPTION 'sequence "%" was converted since this transaction began', s
            USING ERRCODE = 'serialization_failure', HINT = 'Repeat the transaction.';
    -- The caller chose the register, and anybody can make sequences of the names that are looked at
    -- here, except in this schema. As text, since catalogs are read as of the transaction's snapshot.
    ELSIF NOT starts_with(register::text, 'bdr.')
          OR to_regclass(register::text || kin) IS NULL
          OR pg_sequence_last_value(to_regclass(register::text || '_relation')) IS DISTINCT FROM s::oid::bigint THEN
        RAISE EXCEPTION 'register "%" is not that of sequence "%"', register, s
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Call bdr.nextval() with the sequence alone.';
    END IF;
END $bdr$;
