-- One row per resource of the run: what the core tables say about its latest version and its deliveries.
-- Parameters: api_version.
CREATE TEMP TABLE touched AS
SELECT
  v.resource_type,
  v.resource_id,
  max(v.content_hash) FILTER (WHERE v.is_latest) AS content_hash,
  max(v.meta_last_updated) FILTER (WHERE v.is_latest) AS meta_last_updated,
  max(v.first_meta_last_updated) FILTER (WHERE v.is_latest) AS first_meta_last_updated,
  max(v.transaction_time) FILTER (WHERE v.is_latest) AS as_of,
  max(v.first_run_id) FILTER (WHERE v.is_latest) AS run_id,
  arg_max(v.last_run_id, (v.last_seen, v.last_run_id)) AS last_seen_run_id,
  any_value(s.verdict) AS verdict,
  any_value(s.raw_file) AS raw_file,
  any_value(s.raw_line) AS raw_line
FROM staged AS s
JOIN resource_version AS v
  ON v.api_version = $api_version
  AND v.resource_type = s.resource_type
  AND v.resource_id = s.resource_id
WHERE s.verdict <> 'duplicate'
GROUP BY v.resource_type, v.resource_id;
