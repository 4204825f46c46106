-- Tables whose rows are merged by a policy (docs/policies.md).
ALTER TABLE bdr.conflict_log
    DROP CONSTRAINT conflict_log_winner_check,
    ADD CONSTRAINT conflict_log_winner_check CHECK (winner IN ('local', 'remote', 'merged'));

-- Calls a user's function that merges two versions of a row. What it raises is an answer too: the
-- transaction goes on, and the change counts as not made. Only what passes by itself (a deadlock, a
-- full disk, a shutdown) fails the transaction, which is then repeated.
CREATE FUNCTION bdr.call_merge_function(
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
    IF SQLSTATE ~ '^(40|53|57|58|XX)' THEN
        RAISE;
    END IF;
    error := SQLERRM;
END $$;
