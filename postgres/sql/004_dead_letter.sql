-- What could not be applied here and waits for a person: transactions of other nodes that were put
-- aside whole (on_apply_error: dead_letter), in the local transaction that moved bdr.progress past
-- them; and single changes that the function of a custom policy refused.
CREATE TABLE bdr.dead_letter (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    put_aside_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    origin_node        int         NOT NULL,
    origin_incarnation bigint      NOT NULL,
    end_lsn            pg_lsn      NOT NULL,   -- in the origin's WAL
    stamp              timestamptz NOT NULL,
    cause              text        NOT NULL,   -- why it could not be applied
    contents           jsonb       NOT NULL,   -- {"schema.table": {"insert": 1, ...}, ...}
    changes            bigint      NOT NULL,
    -- Of a single change: its table, and the row's name in the agent's version store.
    schema_name        text,
    table_name         text,
    version_key        bytea       NOT NULL DEFAULT '',
    UNIQUE (origin_node, origin_incarnation, end_lsn, version_key)
);

-- Its changes, as they came: one block of the change log for each part.
CREATE TABLE bdr.dead_letter_part (
    letter bigint NOT NULL,
    part   int    NOT NULL,
    block  bytea  NOT NULL,
    PRIMARY KEY (letter, part)
);
ALTER TABLE bdr.dead_letter_part ALTER COLUMN block SET STORAGE EXTERNAL;  -- compressed already
