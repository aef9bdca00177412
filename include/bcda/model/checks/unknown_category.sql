-- Categories, extensions, code systems and elements that were never seen before; they are in ops.drift and in the long tables.
-- Level: warning
-- Threshold: 0
SELECT
  resource_type AS scope,
  count(*) AS rows_checked,
  count(*) FILTER (WHERE first_run_id = $run_id) AS rows_failed
FROM ops.drift
WHERE api_version = $api_version
GROUP BY resource_type;
