-- Which processes serve this database. Nothing in it outlives them, so it is not logged.
CREATE UNLOGGED TABLE instances (
    id      TEXT PRIMARY KEY,
    address TEXT NOT NULL,
    beat    BIGINT NOT NULL
);

-- How often passwords were tried: when each counter has all its tries again, and when that was said.
CREATE TABLE tries (
    place BIGINT PRIMARY KEY,
    until BIGINT NOT NULL,
    counted_at BIGINT NOT NULL
);
