-- How often passwords were tried: when each counter has all its tries again, and when that was said.
CREATE TABLE tries (
    place INTEGER PRIMARY KEY,
    until INTEGER NOT NULL,
    counted_at INTEGER NOT NULL
) STRICT;
