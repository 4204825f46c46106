-- Sequences whose numbers another method than PostgreSQL's own gives out; see seqam/.

-- One row for each that was converted on this node. What bdr.nextval() must see at every isolation
-- level lies in registers instead: sequences in this schema, which are outside of MVCC.
CREATE TABLE bdr.sequence (
    relation   regclass PRIMARY KEY,
    number     int      NOT NULL UNIQUE,  -- the same on every node, and never another's
    method     text     NOT NULL,
    node       int      NOT NULL,         -- whose numbers it gives out: this node's id
    register   regclass,                  -- the first that bdr.nextval() looks at
    parameters jsonb    NOT NULL DEFAULT '{}',
    -- As the sequence was before.
    data_type  regtype  NOT NULL,
    start      bigint   NOT NULL,
    min        bigint   NOT NULL,
    max        bigint   NOT NULL,
    increment  bigint   NOT NULL,
    cache      bigint   NOT NULL,
    cycle      boolean  NOT NULL
);

-- The MAXVALUE of sequences that are about to be converted, for as long as a lower one keeps them from
-- giving out what is the method's already.
CREATE TABLE bdr.sequence_cap (
    relation regclass PRIMARY KEY,
    max      bigint   NOT NULL
);
