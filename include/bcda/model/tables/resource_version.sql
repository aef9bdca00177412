-- One row per content a resource has had.
-- Key: api_version, resource_type, resource_id, content_hash.
-- Source: meta.lastUpdated and the content hash of each line.
-- Trap: Exactly one row of a resource has is_latest; its rows are in the core tables.
CREATE TABLE resource_version (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  resource_type VARCHAR, -- FHIR type
  resource_id VARCHAR, -- Id of the resource
  content_hash VARCHAR, -- SHA-256 of the content without delivery times
  meta_last_updated TIMESTAMP, -- Newest delivery of this content: meta.lastUpdated in UTC
  transaction_time TIMESTAMP, -- transactionTime of that delivery
  first_meta_last_updated TIMESTAMP, -- meta.lastUpdated of the first delivery; what the core tables show
  first_run_id VARCHAR, -- Earliest export, by transactionTime, that brought it
  first_seen TIMESTAMP, -- transactionTime of first_run_id
  last_run_id VARCHAR, -- Latest export, by transactionTime, that brought it
  last_seen TIMESTAMP, -- transactionTime of last_run_id
  is_latest BOOLEAN, -- The version that counts
  raw_file VARCHAR, -- Raw file of first_run_id that holds the line
  raw_line BIGINT -- Number of the line in it
);
