-- Until when one process asks the provider about a session, so that no other does at the same time.
ALTER TABLE provider_sessions ADD COLUMN claimed_until INTEGER;
