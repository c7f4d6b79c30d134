-- What became of logins, step by step. Steps are a line of JSON each, and hold nothing secret.
CREATE TABLE flows (
    id TEXT NOT NULL PRIMARY KEY,
    begun_at INTEGER NOT NULL,
    client_id TEXT,
    grant_id TEXT,
    is_approved INTEGER NOT NULL,
    steps TEXT NOT NULL
) STRICT;
CREATE INDEX flows_by_age ON flows (is_approved, begun_at, id);
CREATE INDEX flows_by_grant ON flows (grant_id) WHERE grant_id IS NOT NULL;
