-- A digest of what is written down of a person, so that a login finds in the index alone whether
-- something reads otherwise. Empty where it was written before: that reads otherwise once.
ALTER TABLE grants ADD COLUMN described BYTEA NOT NULL DEFAULT '\x';
DROP INDEX grants_by_person;
CREATE INDEX grants_by_person ON grants (issuer, subject, described);
ALTER TABLE browser_sessions ADD COLUMN described BYTEA NOT NULL DEFAULT '\x';
DROP INDEX browser_sessions_by_person;
CREATE INDEX browser_sessions_by_person ON browser_sessions (issuer, subject, described);
