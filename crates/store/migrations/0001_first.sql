-- The first schema. One text for SQLite and PostgreSQL: TEXT, BIGINT and BYTEA only; instants are
-- microseconds since 1970 in UTC, dates are YYYY-MM-DD, truth is 0 or 1. Records are JSON text in
-- the shape of the API. `item` is our key of an Item, `item_id` is Plaid's.

-- One row: proves that the master key is the one this database was sealed with.
CREATE TABLE installation (
    id BIGINT PRIMARY KEY,
    key_check BYTEA NOT NULL,
    created_at BIGINT NOT NULL
);

-- One row: the last number given out in the feed.
CREATE TABLE feed_head (
    id BIGINT PRIMARY KEY,
    last_seq BIGINT NOT NULL
);
INSERT INTO feed_head (id, last_seq) VALUES (1, 0);

-- Plaid credentials in one environment. `secret` is sealed with `data_key`, `data_key` with the
-- master key.
CREATE TABLE integrations (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    environment TEXT NOT NULL,
    base_url TEXT NOT NULL,
    client_id TEXT NOT NULL,
    secret BYTEA NOT NULL,
    data_key BYTEA NOT NULL,
    streams TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE end_users (
    id TEXT PRIMARY KEY,
    integration_id TEXT NOT NULL,
    end_user_id TEXT NOT NULL,
    name TEXT,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX end_users_by_name ON end_users (integration_id, end_user_id);

-- Linked logins. `life` is all that is known of the state, as JSON, `status` what it comes down to.
-- `item_seq` numbers the changes of the item; `erase` says what happens to the data once Plaid
-- confirms a removal; `rewalk` asks the next sync to read everything again. `replaces` and
-- `duplicate_of` name other items of the same end user.
CREATE TABLE items (
    id TEXT PRIMARY KEY,
    item_id TEXT NOT NULL,
    integration_id TEXT NOT NULL,
    end_user_key TEXT NOT NULL,
    access_token BYTEA,
    institution_id TEXT,
    institution_name TEXT,
    status TEXT NOT NULL,
    life TEXT NOT NULL,
    status_detail TEXT,
    history TEXT NOT NULL,
    history_since TEXT,
    days_requested BIGINT NOT NULL,
    cursor TEXT NOT NULL,
    rewalk BIGINT NOT NULL,
    item_seq BIGINT NOT NULL,
    erase BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    last_attempt_at BIGINT,
    last_success_at BIGINT,
    last_webhook_at BIGINT,
    bank_updated_at BIGINT,
    bank_failed_at BIGINT,
    replaces TEXT,
    duplicate_of TEXT
);
CREATE UNIQUE INDEX items_by_item_id ON items (item_id);
CREATE INDEX items_by_integration ON items (integration_id, id);
CREATE INDEX items_by_end_user ON items (end_user_key, id);
CREATE INDEX items_by_status ON items (status, id);

-- What is to be done: one row of state for each subject, not a queue of messages.
CREATE TABLE work (
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    wanted_seq BIGINT NOT NULL,
    claimed_seq BIGINT NOT NULL,
    done_seq BIGINT NOT NULL,
    lease_owner TEXT,
    lease_until BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    last_error TEXT,
    PRIMARY KEY (kind, subject)
);
CREATE INDEX work_by_due ON work (kind, due_at);

-- Pages of an update that is not complete yet; seen by nobody. `fence` says under which claim.
CREATE TABLE staged_pages (
    item TEXT NOT NULL,
    fence BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    page BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (item, fence, attempt, page)
);

-- Current version of every transaction, removed ones included. `id` names the economic event.
CREATE TABLE transactions (
    id TEXT PRIMARY KEY,
    item TEXT NOT NULL,
    integration_id TEXT NOT NULL,
    end_user_key TEXT NOT NULL,
    transaction_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    pending_transaction_id TEXT,
    date TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    pending BIGINT NOT NULL,
    removed BIGINT NOT NULL,
    version BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    body TEXT NOT NULL,
    raw TEXT NOT NULL
);
CREATE UNIQUE INDEX transactions_by_plaid_id ON transactions (item, transaction_id);
CREATE INDEX transactions_by_pending_id ON transactions (item, pending_transaction_id);
CREATE INDEX transactions_by_end_user ON transactions (end_user_key, date, id);
CREATE INDEX transactions_pending ON transactions (item, account_id, date) WHERE pending = 1;
CREATE INDEX transactions_by_date ON transactions (date, id);

-- Current version of every other record, by stream. In streams that are sealed, `body` and `raw`
-- are sealed with the integration's data key, in base64; a removed record is its key in plain.
CREATE TABLE records (
    item TEXT NOT NULL,
    stream TEXT NOT NULL,
    record_id TEXT NOT NULL,
    integration_id TEXT NOT NULL,
    end_user_key TEXT NOT NULL,
    removed BIGINT NOT NULL,
    version BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    body TEXT NOT NULL,
    raw TEXT NOT NULL,
    PRIMARY KEY (item, stream, record_id)
);
CREATE INDEX records_by_end_user ON records (end_user_key, stream, record_id);

-- Versions that a newer one replaced, so that a change can be read as it was.
CREATE TABLE superseded (
    item TEXT NOT NULL,
    stream TEXT NOT NULL,
    record_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (item, stream, record_id, version)
);

-- The feed. `item_seq` is written with the change; `seq` is given afterwards by the sequencer.
CREATE TABLE changes (
    item TEXT NOT NULL,
    item_seq BIGINT NOT NULL,
    integration_id TEXT NOT NULL,
    end_user_key TEXT NOT NULL,
    stream TEXT NOT NULL,
    record_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    kind TEXT NOT NULL,
    seq BIGINT,
    PRIMARY KEY (item, item_seq)
);
CREATE UNIQUE INDEX changes_by_seq ON changes (seq);
CREATE INDEX changes_by_end_user ON changes (end_user_key, seq);
CREATE INDEX changes_unnumbered ON changes (item, item_seq) WHERE seq IS NULL;

-- Elements of pages that could not be read.
CREATE TABLE quarantine (
    id TEXT PRIMARY KEY,
    item TEXT NOT NULL,
    part TEXT NOT NULL,
    reason TEXT NOT NULL,
    raw TEXT NOT NULL,
    seen_at BIGINT NOT NULL
);
CREATE INDEX quarantine_by_item ON quarantine (item);

-- Webhooks that were believed. The same body with the same time of issue is a repeat.
CREATE TABLE webhook_events (
    integration_id TEXT NOT NULL,
    body_hash TEXT NOT NULL,
    issued_at BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    webhook_type TEXT NOT NULL,
    webhook_code TEXT NOT NULL,
    item_id TEXT,
    news TEXT NOT NULL,
    PRIMARY KEY (integration_id, body_hash, issued_at)
);
CREATE INDEX webhook_events_by_age ON webhook_events (received_at);
CREATE INDEX webhook_events_by_item ON webhook_events (item_id, received_at);

-- Plaid's webhook keys, kept over a restart.
CREATE TABLE webhook_keys (
    base_url TEXT NOT NULL,
    key_id TEXT NOT NULL,
    jwk TEXT NOT NULL,
    fetched_at BIGINT NOT NULL,
    PRIMARY KEY (base_url, key_id)
);

-- API keys: a prefix to find them by, a SHA-256 to know them by.
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    hash BYTEA NOT NULL,
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT,
    revoked_at BIGINT
);
CREATE UNIQUE INDEX api_keys_by_prefix ON api_keys (prefix);

-- People who may use the dashboard, their sessions, and one-time links to become one.
CREATE TABLE operators (
    name TEXT PRIMARY KEY,
    password_hash TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE sessions (
    token_hash BYTEA PRIMARY KEY,
    operator TEXT NOT NULL,
    csrf_token TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL
);
CREATE TABLE setup_links (
    token_hash BYTEA PRIMARY KEY,
    expires_at BIGINT NOT NULL
);

-- Saved sources. `secret` and `access_token` are sealed with `data_key`.
CREATE TABLE sources (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    environment TEXT NOT NULL,
    base_url TEXT NOT NULL,
    client_id TEXT NOT NULL,
    secret BYTEA NOT NULL,
    access_token BYTEA NOT NULL,
    data_key BYTEA NOT NULL,
    start_date TEXT,
    created_at BIGINT NOT NULL
);

-- What is known of each stream of an item that is read on its own.
CREATE TABLE item_streams (
    item TEXT NOT NULL,
    stream TEXT NOT NULL,
    state TEXT NOT NULL,
    detail TEXT,
    due_at BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    last_attempt_at BIGINT,
    last_success_at BIGINT,
    PRIMARY KEY (item, stream)
);

-- Every balance that was read, once: `confirmed_at` is the last time the same was read again that
-- day.
CREATE TABLE balance_readings (
    item TEXT NOT NULL,
    account_id TEXT NOT NULL,
    fetched_at BIGINT NOT NULL,
    confirmed_at BIGINT NOT NULL,
    day TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (item, account_id, fetched_at)
);

-- The log of syncs.
CREATE TABLE syncs (
    id TEXT PRIMARY KEY,
    item TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    succeeded BIGINT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX syncs_by_item ON syncs (item, id);
CREATE INDEX syncs_by_age ON syncs (ended_at);

-- Pairs that may be one economic event; a person judges.
CREATE TABLE suggestions (
    id TEXT PRIMARY KEY,
    item TEXT NOT NULL,
    kind TEXT NOT NULL,
    from_id TEXT NOT NULL,
    to_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    resolution TEXT,
    resolved_at BIGINT
);
CREATE UNIQUE INDEX suggestions_by_pair ON suggestions (from_id, to_id);
CREATE INDEX suggestions_by_item ON suggestions (item, id);

-- Outbound webhook endpoints; `secret` is sealed with the integration's data key. `events` are
-- names joined by commas.
CREATE TABLE subscriptions (
    id TEXT PRIMARY KEY,
    integration_id TEXT NOT NULL,
    url TEXT NOT NULL,
    events TEXT NOT NULL,
    secret BYTEA NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX subscriptions_by_integration ON subscriptions (integration_id, id);

-- What was sent, or is to be.
CREATE TABLE deliveries (
    id TEXT PRIMARY KEY,
    subscription TEXT NOT NULL,
    event TEXT NOT NULL,
    payload TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    last_attempt_at BIGINT,
    last_status BIGINT,
    last_error TEXT
);
CREATE INDEX deliveries_by_subscription ON deliveries (subscription, id);
CREATE INDEX deliveries_by_age ON deliveries (created_at);

-- Visits of end users to Link. `link_token_hash` finds one by a webhook; tokens are sealed with the
-- integration's data key.
CREATE TABLE link_sessions (
    id TEXT PRIMARY KEY,
    integration_id TEXT NOT NULL,
    end_user_id TEXT NOT NULL,
    item TEXT,
    link_token BYTEA NOT NULL,
    link_token_hash TEXT NOT NULL,
    hosted_link_url TEXT,
    state TEXT NOT NULL,
    public_tokens BYTEA,
    exchanging BIGINT NOT NULL,
    detail TEXT,
    orphan_item_id TEXT,
    expires_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX link_sessions_by_token ON link_sessions (link_token_hash);
CREATE INDEX link_sessions_by_integration ON link_sessions (integration_id, id);
CREATE INDEX link_sessions_by_item ON link_sessions (item, id);

-- Calls to Plaid by day, for the bill.
CREATE TABLE plaid_usage (
    integration_id TEXT NOT NULL,
    day TEXT NOT NULL,
    path TEXT NOT NULL,
    made BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    PRIMARY KEY (integration_id, day, path)
);
