-- The staged table of a run whose export held no resource.
CREATE TEMP TABLE staged (
  resource_type VARCHAR,
  resource_id VARCHAR,
  meta_last_updated TIMESTAMP,
  content_hash VARCHAR,
  raw_file VARCHAR,
  raw_line BIGINT,
  is_known_content BOOLEAN,
  verdict VARCHAR
);
