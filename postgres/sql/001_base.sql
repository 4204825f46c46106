-- Schema bdr, version 1: what the agent keeps inside the database. Run by a superuser, as
-- part of what "bdrctl node setup-sql" prints.

-- How far each origin has been applied here. Updated in the same transaction as the rows, so that
-- a restart, a snapshot, a dump or a base backup sees rows and progress that belong together.
CREATE TABLE bdr.progress (
    origin_node        int    NOT NULL,
    origin_incarnation bigint NOT NULL,
    lsn                pg_lsn NOT NULL,      -- commit end LSN in the origin's WAL
    stamp              timestamptz,          -- of the newest transaction applied
    PRIMARY KEY (origin_node, origin_incarnation)
) WITH (fillfactor = 50);

-- Conflicts that were resolved: both versions, and which one stays.
CREATE TABLE bdr.conflict_log (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    detected_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    relation      text        NOT NULL,      -- schema.name
    kind          text        NOT NULL,      -- as PostgreSQL 18 names them
    key           jsonb,
    local_row     jsonb,
    remote_row    jsonb,
    local_stamp   timestamptz,
    local_node    int,
    remote_stamp  timestamptz,
    remote_node   int,
    winner        text        NOT NULL CHECK (winner IN ('local', 'remote'))
);
CREATE INDEX ON bdr.conflict_log (detected_at);

-- Fails the group, so that nothing is committed here at a time that lies before a change it holds.
CREATE FUNCTION bdr.require_clock_past(newest timestamptz) RETURNS void
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF clock_timestamp() <= newest THEN
        RAISE EXCEPTION 'the server''s clock has not passed %', newest USING ERRCODE = 'BD001';
    END IF;
END $$;
