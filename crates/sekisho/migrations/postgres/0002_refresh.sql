-- What a spent refresh token was traded for, so that it can be answered alike for a while. Empty for
-- those that were traded before: they are not answered again.
ALTER TABLE refresh_tokens
    ADD COLUMN spent_at BIGINT,
    ADD COLUMN next_access BYTEA,
    ADD COLUMN next_access_expires_at BIGINT,
    ADD COLUMN next_scope TEXT;

-- Spent ones are swept at their end, too.
DROP INDEX refresh_tokens_by_end;
CREATE INDEX refresh_tokens_by_end ON refresh_tokens (expires_at);

-- A yes has an age; that of the ones there are begins now.
ALTER TABLE consents ADD COLUMN given_at BIGINT NOT NULL DEFAULT 0;
UPDATE consents SET given_at = EXTRACT(EPOCH FROM now())::BIGINT;
CREATE INDEX consents_by_age ON consents (given_at);

-- Which key seals: no key, but a name that is made from it.
ALTER TABLE instance ADD COLUMN sealing_key TEXT;
