-- One row for each login at an identity provider. It stands behind the grant of its name, which may
-- still be a code, and goes with it. The tokens are sealed at grant_id.
CREATE TABLE provider_sessions (
    grant_id TEXT NOT NULL PRIMARY KEY,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    sid TEXT,
    browser BYTEA,
    tokens BYTEA NOT NULL,
    check_at BIGINT,
    claim BIGINT NOT NULL,
    failures BIGINT NOT NULL
);
CREATE INDEX provider_sessions_due ON provider_sessions (check_at) WHERE check_at IS NOT NULL;
CREATE INDEX provider_sessions_by_person ON provider_sessions (issuer, subject);
CREATE INDEX provider_sessions_by_sid ON provider_sessions (issuer, sid) WHERE sid IS NOT NULL;
CREATE INDEX provider_sessions_by_browser ON provider_sessions (browser) WHERE browser IS NOT NULL;

-- Messages of a provider that logged somebody out, as hashes of their ids, while they could be sent
-- again.
CREATE TABLE logout_messages (
    message BYTEA NOT NULL PRIMARY KEY,
    ends_at BIGINT NOT NULL
);

-- What was kept at the grant and its code until now. Whether the provider gave a token to ask with
-- stands inside the seal, so all of them are due.
INSERT INTO provider_sessions (grant_id, issuer, subject, tokens, check_at, claim, failures)
SELECT id, issuer, subject, provider_tokens, 0, 0, 0 FROM grants WHERE provider_tokens IS NOT NULL;
INSERT INTO provider_sessions (grant_id, issuer, subject, tokens, check_at, claim, failures)
SELECT grant_id, issuer, subject, provider_tokens, 0, 0, 0 FROM codes
WHERE provider_tokens IS NOT NULL;
ALTER TABLE grants DROP COLUMN provider_tokens;
ALTER TABLE codes DROP COLUMN provider_tokens;
