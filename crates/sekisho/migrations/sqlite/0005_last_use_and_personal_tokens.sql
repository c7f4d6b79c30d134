-- When a token of the grant was last shown, in steps of an hour.
ALTER TABLE grants ADD COLUMN last_used_at INTEGER;

-- What makes a grant a personal access token. The token itself stands in access_tokens.
CREATE TABLE personal_tokens (
    grant_id TEXT NOT NULL PRIMARY KEY REFERENCES grants (id) ON DELETE CASCADE,
    label TEXT,
    expires_at INTEGER NOT NULL
) STRICT;

-- A browser session opens the account page only while it is not idle.
ALTER TABLE browser_sessions ADD COLUMN idle_until INTEGER;
