-- A second wall around integrations, which holds whatever a statement says. A transaction names the
-- integration that it works for in `selvedge.integration`, or `*` for all; one that names none sees
-- nothing. The owner of the tables is bound, too; superusers never are.

-- Rows that name their integration.
ALTER TABLE integrations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON integrations
    USING (current_setting('selvedge.integration', true) IN ('*', id));
ALTER TABLE end_users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON end_users
    USING (current_setting('selvedge.integration', true) IN ('*', integration_id));
ALTER TABLE items ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON items
    USING (current_setting('selvedge.integration', true) IN ('*', integration_id));
ALTER TABLE transactions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON transactions
    USING (current_setting('selvedge.integration', true) IN ('*', integration_id));
ALTER TABLE records ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON records
    USING (current_setting('selvedge.integration', true) IN ('*', integration_id));
ALTER TABLE changes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON changes
    USING (current_setting('selvedge.integration', true) IN ('*', integration_id));
ALTER TABLE webhook_events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON webhook_events
    USING (current_setting('selvedge.integration', true) IN ('*', integration_id));
ALTER TABLE subscriptions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON subscriptions
    USING (current_setting('selvedge.integration', true) IN ('*', integration_id));
ALTER TABLE link_sessions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON link_sessions
    USING (current_setting('selvedge.integration', true) IN ('*', integration_id));
ALTER TABLE plaid_usage ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON plaid_usage
    USING (current_setting('selvedge.integration', true) IN ('*', integration_id));
ALTER TABLE connections ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON connections
    USING (current_setting('selvedge.integration', true) IN ('*', integration_id));
ALTER TABLE enrichment_rules ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON enrichment_rules
    USING (current_setting('selvedge.integration', true) IN ('*', integration_id));

-- Rows of an Item, which is bound itself.
ALTER TABLE staged_pages ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON staged_pages
    USING (current_setting('selvedge.integration', true) = '*'
        OR EXISTS (SELECT 1 FROM items i WHERE i.id = item));
ALTER TABLE superseded ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON superseded
    USING (current_setting('selvedge.integration', true) = '*'
        OR EXISTS (SELECT 1 FROM items i WHERE i.id = item));
ALTER TABLE quarantine ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON quarantine
    USING (current_setting('selvedge.integration', true) = '*'
        OR EXISTS (SELECT 1 FROM items i WHERE i.id = item));
ALTER TABLE item_streams ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON item_streams
    USING (current_setting('selvedge.integration', true) = '*'
        OR EXISTS (SELECT 1 FROM items i WHERE i.id = item));
ALTER TABLE balance_readings ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON balance_readings
    USING (current_setting('selvedge.integration', true) = '*'
        OR EXISTS (SELECT 1 FROM items i WHERE i.id = item));
ALTER TABLE syncs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON syncs
    USING (current_setting('selvedge.integration', true) = '*'
        OR EXISTS (SELECT 1 FROM items i WHERE i.id = item));
ALTER TABLE suggestions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON suggestions
    USING (current_setting('selvedge.integration', true) = '*'
        OR EXISTS (SELECT 1 FROM items i WHERE i.id = item));

-- Rows of an end user, a connection or a subscription, which are bound themselves.
ALTER TABLE end_user_series ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON end_user_series
    USING (current_setting('selvedge.integration', true) = '*'
        OR EXISTS (SELECT 1 FROM end_users e WHERE e.id = end_user_key));
ALTER TABLE visits ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON visits
    USING (current_setting('selvedge.integration', true) = '*'
        OR EXISTS (SELECT 1 FROM end_users e WHERE e.id = end_user_key));
ALTER TABLE connection_streams ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON connection_streams
    USING (current_setting('selvedge.integration', true) = '*'
        OR EXISTS (SELECT 1 FROM connections c WHERE c.id = connection));
ALTER TABLE runs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON runs
    USING (current_setting('selvedge.integration', true) = '*'
        OR EXISTS (SELECT 1 FROM connections c WHERE c.id = connection));
ALTER TABLE deliveries ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON deliveries
    USING (current_setting('selvedge.integration', true) = '*'
        OR EXISTS (SELECT 1 FROM subscriptions s WHERE s.id = subscription));

-- Work belongs to whom its subject belongs.
ALTER TABLE work ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON work
    USING (current_setting('selvedge.integration', true) = '*'
        OR EXISTS (SELECT 1 FROM items i WHERE i.id = subject)
        OR EXISTS (SELECT 1 FROM end_users e WHERE e.id = subject)
        OR EXISTS (SELECT 1 FROM deliveries d WHERE d.id = subject)
        OR EXISTS (SELECT 1 FROM link_sessions l WHERE l.id = subject)
        OR EXISTS (SELECT 1 FROM connections c WHERE c.id = subject));

-- Rows of the whole installation: those with secrets of people are for no single integration.
ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON api_keys
    USING (current_setting('selvedge.integration', true) = '*');
ALTER TABLE operators ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON operators
    USING (current_setting('selvedge.integration', true) = '*');
ALTER TABLE sessions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON sessions
    USING (current_setting('selvedge.integration', true) = '*');
ALTER TABLE setup_links ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON setup_links
    USING (current_setting('selvedge.integration', true) = '*');
ALTER TABLE processes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON processes
    USING (current_setting('selvedge.integration', true) = '*');
ALTER TABLE installation ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON installation
    USING (current_setting('selvedge.integration', true) <> '');
ALTER TABLE feed_head ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON feed_head
    USING (current_setting('selvedge.integration', true) <> '');
ALTER TABLE webhook_keys ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON webhook_keys
    USING (current_setting('selvedge.integration', true) <> '');
ALTER TABLE relocations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY integration ON relocations
    USING (current_setting('selvedge.integration', true) = '*');
