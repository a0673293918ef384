-- Processes that work on this database, so that they share what Plaid allows. `seen_at` is the last
-- sign of life.
CREATE TABLE processes (
    id TEXT PRIMARY KEY,
    started_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);

-- What a process holds, to be given back at once when it ends.
CREATE INDEX work_by_owner ON work (lease_owner) WHERE lease_owner IS NOT NULL;

-- How far the move of an installation into this database is, by table: the key behind which it goes on,
-- as JSON. A row of the table `*` says that the installation was moved away, and where to.
CREATE TABLE relocations (
    table_name TEXT PRIMARY KEY,
    last_key TEXT NOT NULL,
    finished BIGINT NOT NULL
);
