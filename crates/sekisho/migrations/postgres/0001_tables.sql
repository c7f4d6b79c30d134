-- Times are whole seconds since 1970. A token, code, secret, state or cookie is a SHA-256 of 32
-- bytes. What is called sealed is ciphertext under the operator's key. docs/storage.md says more.

CREATE TABLE instance (
    id TEXT NOT NULL PRIMARY KEY
);

CREATE TABLE clients (
    id TEXT NOT NULL PRIMARY KEY,
    metadata TEXT NOT NULL,
    secret BYTEA,
    secret_expires_at BIGINT,
    created_at BIGINT NOT NULL,
    has_finished_login BOOLEAN NOT NULL
);
CREATE INDEX clients_unfinished ON clients (created_at, id) WHERE has_finished_login = FALSE;

CREATE TABLE logins (
    login_state BYTEA NOT NULL PRIMARY KEY,
    browser BYTEA NOT NULL,
    sealed BYTEA NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX logins_by_end ON logins (expires_at);

-- A redeemed code stays as long as its grant, so that a replay of it is seen.
CREATE TABLE codes (
    code BYTEA NOT NULL PRIMARY KEY,
    grant_id TEXT NOT NULL,
    request TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    name TEXT,
    email TEXT,
    email_verified BOOLEAN NOT NULL,
    provider_tokens BYTEA,
    expires_at BIGINT NOT NULL,
    is_redeemed BOOLEAN NOT NULL
);
CREATE INDEX codes_by_grant ON codes (grant_id);
CREATE INDEX codes_by_end ON codes (expires_at);

CREATE TABLE grants (
    id TEXT NOT NULL PRIMARY KEY,
    client_id TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    name TEXT,
    email TEXT,
    email_verified BOOLEAN NOT NULL,
    scope TEXT NOT NULL,
    resource TEXT NOT NULL,
    provider_tokens BYTEA,
    created_at BIGINT NOT NULL
);
CREATE INDEX grants_by_person ON grants (issuer, subject);

-- Tokens live and die with their grant.
CREATE TABLE access_tokens (
    token BYTEA NOT NULL PRIMARY KEY,
    grant_id TEXT NOT NULL REFERENCES grants (id) ON DELETE CASCADE,
    scope TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX access_tokens_by_grant ON access_tokens (grant_id);
CREATE INDEX access_tokens_by_end ON access_tokens (expires_at);

CREATE TABLE refresh_tokens (
    token BYTEA NOT NULL PRIMARY KEY,
    grant_id TEXT NOT NULL REFERENCES grants (id) ON DELETE CASCADE,
    expires_at BIGINT NOT NULL,
    is_spent BOOLEAN NOT NULL
);
CREATE INDEX refresh_tokens_by_grant ON refresh_tokens (grant_id, is_spent);
CREATE INDEX refresh_tokens_by_end ON refresh_tokens (expires_at) WHERE is_spent = FALSE;

-- What was taken back, for other processes to notice. No number is ever given out twice.
CREATE TABLE revocations (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    grant_id TEXT,
    access_token BYTEA,
    revoked_at BIGINT NOT NULL,
    CHECK ((grant_id IS NULL) <> (access_token IS NULL))
);

CREATE TABLE users (
    name TEXT NOT NULL PRIMARY KEY,
    password_hash TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE consents (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    tuple BYTEA NOT NULL,
    PRIMARY KEY (issuer, subject, tuple)
);

CREATE TABLE browser_sessions (
    browser BYTEA NOT NULL PRIMARY KEY,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    name TEXT,
    email TEXT,
    email_verified BOOLEAN NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX browser_sessions_by_end ON browser_sessions (expires_at);
