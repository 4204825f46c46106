-- What "bdrctl conflict explain" and "undo" need to know of a conflict.
ALTER TABLE bdr.conflict_log
    ADD COLUMN rule               text,         -- what decided: see docs/architecture.md, "Conflicts"
    ADD COLUMN remote_seen        timestamptz,  -- up to when the remote transaction had seen local_node's commits
    ADD COLUMN local_lsn          pg_lsn,       -- of the local version, in its origin's WAL
    ADD COLUMN local_incarnation  bigint,
    ADD COLUMN remote_lsn         pg_lsn,       -- of the remote transaction, in its origin's WAL
    ADD COLUMN remote_incarnation bigint,
    ADD COLUMN remote_absent      text[],       -- columns of remote_row that did not come along: unknown, not NULL
    ADD COLUMN undone_at          timestamptz;  -- the loser was written again

CREATE INDEX ON bdr.conflict_log (relation, detected_at);
