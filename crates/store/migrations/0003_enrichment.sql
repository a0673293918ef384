-- What an end user's transactions say together, as JSON: series, sources of income, debts.
CREATE TABLE end_user_series (
    end_user_key TEXT PRIMARY KEY,
    body TEXT NOT NULL,
    tables TEXT NOT NULL,
    processed_at BIGINT NOT NULL
);

-- Rules of an integration's people about what transactions mean. `body` is JSON in the shape of the API.
CREATE TABLE enrichment_rules (
    id TEXT PRIMARY KEY,
    integration_id TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX enrichment_rules_by_integration ON enrichment_rules (integration_id, id);

-- When an operator last looked at an end user, and when the time before.
CREATE TABLE visits (
    operator TEXT NOT NULL,
    end_user_key TEXT NOT NULL,
    seen_at BIGINT NOT NULL,
    before_at BIGINT NOT NULL,
    PRIMARY KEY (operator, end_user_key)
);
