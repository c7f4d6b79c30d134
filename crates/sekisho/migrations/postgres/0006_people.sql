-- Whether the provider's tokens outlive the browser's session there (offline access), so that a no
-- says something of the person.
ALTER TABLE provider_sessions ADD COLUMN is_offline BOOLEAN NOT NULL DEFAULT FALSE;
-- Since when nothing hangs on it here: the provider is told so, and the row goes.
ALTER TABLE provider_sessions ADD COLUMN over_since BIGINT;
CREATE INDEX provider_sessions_over ON provider_sessions (over_since) WHERE over_since IS NOT NULL;

-- The provider's session of the login that made the token.
ALTER TABLE personal_tokens ADD COLUMN session TEXT;
CREATE INDEX personal_tokens_by_session ON personal_tokens (session) WHERE session IS NOT NULL;

-- People of whom the provider said no, until they log in again: their personal tokens open nothing.
CREATE TABLE gone_people (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    PRIMARY KEY (issuer, subject)
);

-- People are looked for by what they are called.
CREATE INDEX grants_by_subject ON grants (subject);
CREATE INDEX grants_by_name ON grants (name) WHERE name IS NOT NULL;
CREATE INDEX grants_by_email ON grants (email) WHERE email_verified = TRUE;
