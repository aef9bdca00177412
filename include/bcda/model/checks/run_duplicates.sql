-- Resources that came more than once in the run; the newest line of each counts.
-- Level: warning
-- Threshold: 0
SELECT
  resource_type AS scope,
  lines AS rows_checked,
  duplicates AS rows_failed
FROM ops.export_count
WHERE run_id = $run_id
  AND $api_version IS NOT NULL;
