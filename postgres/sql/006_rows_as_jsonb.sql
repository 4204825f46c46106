-- Rows for bdr.conflict_log and its kind: whatever they hold, writing them down never fails the
-- transaction whose rows they are. Not every value can become jsonb: json with \u0000 or a lone
-- surrogate, a string beyond 256 MB, a type whose cast to json or whose output raises.

-- {"name": value}. A value that cannot become jsonb is there as its text, or says why it is not; the
-- member "" (no column has such a name) then holds the reason: {"name": "...", "": {"name": reason}}.
CREATE FUNCTION bdr.column_as_jsonb(column_name text, value anyelement) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    most CONSTANT int := 16 << 20;   -- in bytes; as text it may be six times as much
    held jsonb;
    reason text;
BEGIN
    BEGIN
        held := pg_catalog.to_jsonb(value);
    EXCEPTION WHEN OTHERS THEN
        -- What passes by itself fails the transaction, which is repeated. Memory is not of that kind:
        -- it is the value that needs too much.
        IF SQLSTATE ~ '^(40|53[^2]|55P03|57|58)' THEN
            RAISE;
        END IF;
        reason := 'held as text: ' || SQLERRM;
    END;
    IF reason IS NOT NULL THEN
        BEGIN
            held := pg_catalog.to_jsonb(value::text);
        EXCEPTION WHEN OTHERS THEN
            IF SQLSTATE ~ '^(40|53[^2]|55P03|57|58)' THEN
                RAISE;
            END IF;
            held := pg_catalog.to_jsonb('(not representable: ' || SQLERRM || ')');
            reason := 'not held: ' || SQLERRM;
        END;
    END IF;
    IF pg_catalog.pg_column_size(held) > most THEN
        reason := 'not held: it takes ' || pg_catalog.pg_column_size(held) || ' bytes';
        held := pg_catalog.to_jsonb('(not representable: it takes '
                                    || pg_catalog.pg_column_size(held) || ' bytes)');
    END IF;
    IF reason IS NULL THEN
        RETURN pg_catalog.jsonb_build_object(column_name, held);
    END IF;
    RETURN pg_catalog.jsonb_build_object(
        column_name, held, '', pg_catalog.jsonb_build_object(column_name, reason));
END $$;

-- One row of many columns as column_as_jsonb() gives them.
CREATE FUNCTION bdr.columns_as_jsonb(columns jsonb[]) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    most CONSTANT int := 64 << 20;
    whole jsonb := '{}';
    reasons jsonb := '{}';
    part jsonb;
    size bigint := 0;
BEGIN
    FOREACH part IN ARRAY columns LOOP
        size := size + pg_catalog.pg_column_size(part);
        IF size > most THEN
            size := size - pg_catalog.pg_column_size(part);
            SELECT pg_catalog.jsonb_build_object(
                       e.key, '(not representable: the row is too large)'::text,
                       '', pg_catalog.jsonb_build_object(
                           e.key, 'not held: the row is too large'::text))
                INTO part FROM pg_catalog.jsonb_each(part) AS e WHERE e.key <> '';
        END IF;
        reasons := reasons || coalesce(part -> '', '{}');
        whole := whole || (part - ''::text);
    END LOOP;
    IF reasons <> '{}' THEN
        whole := whole || pg_catalog.jsonb_build_object('', reasons);
    END IF;
    RETURN whole;
END $$;

-- A whole row: to_jsonb() of it wherever that is possible.
CREATE FUNCTION bdr.row_as_jsonb(whole anyelement) RETURNS jsonb
LANGUAGE plpgsql STRICT AS $$
DECLARE
    most CONSTANT int := 64 << 20;
    held jsonb;
    columns jsonb[] := '{}';
    name text;
    part jsonb;
BEGIN
    BEGIN
        held := pg_catalog.to_jsonb(whole);
        IF pg_catalog.pg_column_size(held) <= most THEN
            RETURN held;
        END IF;
    EXCEPTION WHEN OTHERS THEN
        IF SQLSTATE ~ '^(40|53[^2]|55P03|57|58)' THEN
            RAISE;
        END IF;
    END;
    FOR name IN SELECT a.attname
                FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.typrelid
                WHERE t.oid = pg_catalog.pg_typeof(whole) AND a.attnum > 0 AND NOT a.attisdropped
                ORDER BY a.attnum
    LOOP
        EXECUTE pg_catalog.format('SELECT bdr.column_as_jsonb($1, ($2).%I)', name)
            INTO part USING name, whole;
        columns := columns || part;
    END LOOP;
    RETURN bdr.columns_as_jsonb(columns);
END $$;
