-- What the provider says of a person beside who they are, as far as rules ask about it; JSON.
ALTER TABLE codes ADD COLUMN claims TEXT;
ALTER TABLE grants ADD COLUMN claims TEXT;
ALTER TABLE browser_sessions ADD COLUMN claims TEXT;
CREATE INDEX browser_sessions_by_person ON browser_sessions (issuer, subject);
