-- Whose database this is: the node that first came. Another one's agent would apply every change a
-- second time, and end this one's sessions.
CREATE TABLE bdr.node (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    cluster_id text    NOT NULL,
    node_id    int     NOT NULL,
    name       text    NOT NULL
);
