-- What defaults call for sequences of method @METHOD@. A bulk insert spends much of its time here, so
-- this is arranged by what was measured: declared variables, statements and further calls each cost
-- as much as a long expression does, and a transaction makes an expression ready once, with all that
-- it could come to. So each method has a single expression of its own.
CREATE OR REPLACE FUNCTION bdr.sequence_id_@METHOD@(v bigint, m bigint, s regclass, register regclass)
RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $bdr$
BEGIN
    RETURN CASE
@ARMS@        ELSE bdr.sequence_id_otherwise(v, m, s, register)
    END;
END $bdr$;

CREATE OR REPLACE FUNCTION bdr.nextval_@METHOD@(s regclass, register regclass) RETURNS bigint
LANGUAGE sql VOLATILE AS $bdr$
    SELECT bdr.sequence_id_@METHOD@(pg_catalog.nextval(s), pg_catalog.pg_sequence_last_value(register),
                                    s, register)
$bdr$;

