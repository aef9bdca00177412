-- One row per content a resource has had.
-- Key: api_version, resource_type, resource_id, content_hash (proved by a check; an index would make each load pay for the whole table).
-- Source: meta.lastUpdated and the content hash of each line.
-- Trap: Exactly one row of a resource has is_latest; its children are in the core tables.
CREATE TABLE resource_version (
  api_version VARCHAR,
  resource_type VARCHAR,
  resource_id VARCHAR,
  content_hash VARCHAR,
  meta_last_updated TIMESTAMP,
  transaction_time TIMESTAMP,
  first_run_id VARCHAR,
  last_run_id VARCHAR,
  is_latest BOOLEAN
);
