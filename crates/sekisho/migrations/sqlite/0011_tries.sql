-- How often passwords were tried: when each counter has all its tries again.
CREATE TABLE tries (
    place INTEGER PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT;
