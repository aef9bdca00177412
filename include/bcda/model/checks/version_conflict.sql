-- Resources that one run brought with several contents and one lastUpdated. The content with the greatest hash counts; ops.version_conflict lists them.
-- Level: warning
-- Threshold: 0
SELECT
  n.resource_type AS scope,
  n.lines AS rows_checked,
  count(v.resource_id) AS rows_failed
FROM ops.export_count AS n
LEFT JOIN ops.version_conflict AS v
  ON v.run_id = n.run_id
  AND v.resource_type = n.resource_type
WHERE n.run_id = $run_id
  AND $api_version IS NOT NULL
GROUP BY n.resource_type, n.lines;
