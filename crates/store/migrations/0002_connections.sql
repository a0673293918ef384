-- Connections: streams of an integration on their way to a destination. A source is an integration of
-- its own, made for one, so the table of sources goes.
DROP TABLE sources;
ALTER TABLE integrations ADD COLUMN is_source BIGINT NOT NULL DEFAULT 0;
ALTER TABLE integrations ADD COLUMN start_date TEXT;

-- Whether the next sync asks the bank for balances.
ALTER TABLE items ADD COLUMN balances_wanted BIGINT NOT NULL DEFAULT 0;

-- `settings` is JSON; `destination` (JSON) and `hash_key` are sealed with the integration's data key.
-- `place` says where the destination is, without a secret.
CREATE TABLE connections (
    id TEXT PRIMARY KEY,
    integration_id TEXT NOT NULL,
    name TEXT NOT NULL,
    settings TEXT NOT NULL,
    destination BYTEA NOT NULL,
    destination_kind TEXT NOT NULL,
    place TEXT NOT NULL,
    hash_key BYTEA NOT NULL,
    on_change BIGINT NOT NULL,
    paused TEXT,
    created_at BIGINT NOT NULL
);
CREATE INDEX connections_by_integration ON connections (integration_id, id);

-- How far each stream of a connection is. `mark` is what the destination acknowledged last; one that
-- keeps no mark of its own goes on from here.
CREATE TABLE connection_streams (
    connection TEXT NOT NULL,
    stream TEXT NOT NULL,
    generation BIGINT NOT NULL,
    refresh_wanted BIGINT NOT NULL,
    mark TEXT,
    PRIMARY KEY (connection, stream)
);

-- Executions. `body` is JSON: counts of each stream, the outcome in words, the log.
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    connection TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    cancelled BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    ended_at BIGINT,
    body TEXT NOT NULL
);
CREATE INDEX runs_by_connection ON runs (connection, id);
CREATE INDEX runs_by_age ON runs (ended_at);

-- The order in which all records of an end user are read for a destination; a date may change while they
-- are, an id does not.
CREATE INDEX transactions_in_order ON transactions (end_user_key, id);
