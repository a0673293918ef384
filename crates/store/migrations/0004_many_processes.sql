-- Processes that work on this database, so that they share what Plaid allows. `seen_at` is the last
-- sign of life.
CREATE TABLE processes (
    id TEXT PRIMARY KEY,
    started_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);

-- What a process holds, to be given back at once when it ends.
CREATE INDEX work_by_owner ON work (lease_owner) WHERE lease_owner IS NOT NULL;
