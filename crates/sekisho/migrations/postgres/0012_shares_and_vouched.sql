-- Whose share of the table a used assertion takes, as SHA-256 of a name, so that nobody fills another's.
ALTER TABLE assertions ADD COLUMN share BYTEA NOT NULL DEFAULT '';
CREATE INDEX assertions_by_share ON assertions (share);

-- Grants that stand on a company's word (ID-JAG): no session at the provider is kept that says when they end.
ALTER TABLE grants ADD COLUMN is_vouched BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX grants_vouched ON grants (issuer, subject) WHERE is_vouched = TRUE;
