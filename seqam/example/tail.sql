-- tail: the last four digits of an id are its node's number, and what is before them counts.
--
-- Two nodes never meet, since they end differently, and on a node each ordinal is drawn once. The
-- register holds what is before the last digits of the first id, and never changes.

CREATE OR REPLACE FUNCTION bdr.tail_id(m bigint, v bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $bdr$
    SELECT (m + (v & 70368744177663)) * 10000 + ((v >> 49) & 1023)
$bdr$;

CREATE OR REPLACE FUNCTION bdr.begin_tail(s regclass, number int, node int, first bigint,
                                          parameters jsonb) RETURNS regclass
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    name text := format('bdr.sequence_%s', number);
BEGIN
    IF first < 0 OR first > 1::bigint << 62 THEN
        RAISE EXCEPTION 'sequence "%" would begin at %, and tail goes from 0 to 2^62', s, first;
    END IF;
    PERFORM bdr.make_registers(name, '{""}');
    PERFORM setval(name::regclass, (first + 9999) / 10000);
    RETURN name::regclass;
END $bdr$;
