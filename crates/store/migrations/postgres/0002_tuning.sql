-- Rows that are rewritten in place all the time keep room for their next version in the same page, and
-- are cleaned up after a count of dead rows rather than a share of a large table.
ALTER TABLE work SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
ALTER TABLE items SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE feed_head SET (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
ALTER TABLE transactions SET (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE staged_pages SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
