-- A lock that a merge function waited for is no answer of the function: it is asked again.
CREATE OR REPLACE FUNCTION bdr.call_merge_function(
    merge_function text, older anyelement, newer anyelement, info jsonb,
    OUT merged anyelement, OUT error text)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SELECT x.* FROM %s($1, $2, $3) AS x', merge_function)
        INTO merged USING older, newer, info;
    IF merged IS NULL THEN
        error := 'it returned no row';
    END IF;
EXCEPTION WHEN OTHERS THEN
    IF SQLSTATE ~ '^(40|53|55P03|57|58|XX)' THEN
        RAISE;
    END IF;
    error := SQLERRM;
END $$;
