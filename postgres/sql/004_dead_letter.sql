-- Transactions of other nodes that could not be applied here and were put aside whole
-- (on_apply_error: dead_letter), in the local transaction that moved bdr.progress past them.
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
    UNIQUE (origin_node, origin_incarnation, end_lsn)
);

-- Its changes, as they came: one block of the change log for each part.
CREATE TABLE bdr.dead_letter_part (
    letter bigint NOT NULL,
    part   int    NOT NULL,
    block  bytea  NOT NULL,
    PRIMARY KEY (letter, part)
);
ALTER TABLE bdr.dead_letter_part ALTER COLUMN block SET STORAGE EXTERNAL;  -- compressed already
