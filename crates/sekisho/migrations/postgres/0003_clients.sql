-- Who says that there is a client, and when it was last given tokens. What was there before had
-- registered itself.
ALTER TABLE clients ADD COLUMN origin TEXT NOT NULL DEFAULT 'dynamic';
ALTER TABLE clients ADD COLUMN last_used_at BIGINT NOT NULL DEFAULT 0;
UPDATE clients SET last_used_at = created_at;
CREATE INDEX clients_by_use ON clients (last_used_at);
CREATE INDEX grants_by_client ON grants (client_id);

-- A code that is on its way ends with its client. What is older than this column ends by itself.
ALTER TABLE codes ADD COLUMN client_id TEXT NOT NULL DEFAULT '';

-- Assertions that clients used (RFC 7523 §3), as SHA-256 of client and jti.
CREATE TABLE assertions (
    assertion BYTEA NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE INDEX assertions_by_end ON assertions (expires_at);
