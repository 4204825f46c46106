-- The next number of a sequence by its method. Runs with the rights and the search path of whoever
-- calls, so that nextval() itself asks for the rights (and is named in full: a role may have another
-- nextval() in its path).
--
-- A bulk insert spends much of its time here, so this is arranged by what was measured: bdr.nextval()
-- is SQL that PostgreSQL puts in place of its call, so that nextval() and the read of the register
-- are plain calls, in this order, and what is left is little PL/pgSQL: declared variables, statements
-- and further calls each cost as much as a long expression does. An expression is also made ready
-- once in each transaction, so each method has its own: a single row pays for one, not for all.
CREATE OR REPLACE FUNCTION bdr.sequence_id(v bigint, m bigint, s regclass, register regclass)
RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $bdr$
BEGIN
@QUICK@    RETURN bdr.sequence_id_otherwise(v, m, s, register);
END $bdr$;

CREATE OR REPLACE FUNCTION bdr.sequence_id_otherwise(v bigint, m bigint, s regclass, register regclass)
RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $bdr$
DECLARE
    shift int;
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

-- The same for whoever knows the sequence alone.
CREATE OR REPLACE FUNCTION bdr.nextval(s regclass) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $bdr$
DECLARE
    register regclass := (SELECT q.register FROM bdr.sequence q WHERE q.relation = s);
BEGIN
    RETURN bdr.nextval(s, register);
END $bdr$;
