-- The next number of a sequence by its method. Runs with the rights and the search path of whoever
-- calls, so that nextval() itself asks for the rights (and is named in full: a role may have another
-- nextval() in its path); one evaluation of DEFAULT bdr.nextval('s', 'bdr.r') is one call
-- and two reads of memory.
CREATE OR REPLACE FUNCTION bdr.nextval(s regclass, register regclass) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $bdr$
DECLARE
    v bigint := pg_catalog.nextval(s);
    m bigint;
    shift int;
BEGIN
    IF v >= -4611686018427387904 THEN
        RETURN v;
    END IF;
    m := pg_catalog.pg_sequence_last_value(register);
@BRANCHES@    RAISE EXCEPTION 'sequence "%" gave out %, which is of no method', s, v
        USING ERRCODE = 'data_corrupted';
END $bdr$;

-- The same for whoever knows the sequence alone.
CREATE OR REPLACE FUNCTION bdr.nextval(s regclass) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $bdr$
DECLARE
    register regclass := (SELECT q.register FROM bdr.sequence q WHERE q.relation = s);
BEGIN
    RETURN bdr.nextval(s, register);
END $bdr$;
