-- All tokens of a grant lie beside each other, in the order in which they were issued: under the beginning of its
-- id (16 hex digits) and the number of trades before them, with which each of them begins. A token is an access
-- token, a refresh token, or a refresh token that is spent.
CREATE TABLE tokens (
    family TEXT NOT NULL,
    turn INTEGER NOT NULL,
    token BLOB NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('access', 'refresh', 'spent')),
    grant_id TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    scope TEXT,
    spent_at INTEGER,
    next_access BLOB,
    next_access_expires_at INTEGER,
    next_scope TEXT,
    PRIMARY KEY (family, turn, token)
) STRICT, WITHOUT ROWID;

-- The family of tokens that do not name it, since they were issued before. Their turn is the first.
CREATE TABLE older_tokens (
    token BLOB NOT NULL PRIMARY KEY,
    family TEXT NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO tokens (family, turn, token, kind, grant_id, expires_at, scope)
SELECT substr(grant_id, 1, 16), 0, token, 'access', grant_id, expires_at, scope FROM access_tokens;
INSERT INTO tokens (family, turn, token, kind, grant_id, expires_at, spent_at, next_access,
    next_access_expires_at, next_scope)
SELECT substr(grant_id, 1, 16), 0, token, CASE WHEN is_spent THEN 'spent' ELSE 'refresh' END, grant_id,
    expires_at, spent_at, next_access, next_access_expires_at, next_scope
FROM refresh_tokens;
INSERT INTO older_tokens (token, family) SELECT token, family FROM tokens;
DROP TABLE access_tokens;
DROP TABLE refresh_tokens;

-- What only a sweep or the command line looks for is found by looking through the table: each of these was written
-- with every login.
DROP INDEX logins_by_end;
DROP INDEX clients_by_use;
DROP INDEX grants_by_subject;
DROP INDEX grants_by_name;
DROP INDEX grants_by_email;
