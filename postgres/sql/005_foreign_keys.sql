-- Foreign keys that concurrent changes have orphaned (apply does not check them).
ALTER TABLE bdr.conflict_log
    ADD COLUMN constraint_name text;  -- of foreign_key_orphaned: local_row is the row that references, remote_row what was deleted

-- What is to be done about them, as the constraint's policy says. Written in the transaction that
-- found the orphan; worked off by the agent, each by an ordinary transaction that replicates and
-- removes its row here.
CREATE TABLE bdr.fk_action (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queued_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_try    timestamptz NOT NULL DEFAULT clock_timestamp(),
    error       text,                     -- of the last try
    policy      text        NOT NULL CHECK (policy IN ('cascade', 'set_null', 'restore_parent')),
    foreign_key jsonb       NOT NULL,     -- as read from the catalog
    child       jsonb       NOT NULL,     -- the row that references
    parent      jsonb                     -- the row that was deleted, if it was found
);
