-- Days between the newest claim that CMS finished and the run.
-- Level: warning
-- Threshold: 21
SELECT
  '' AS scope,
  count(processed_date) AS rows_checked,
  0 AS rows_failed,
  CAST(date_diff('day', max(processed_date), (SELECT CAST(transaction_time AS DATE) FROM ops.export_run WHERE run_id = $run_id)) AS DOUBLE) AS observed
FROM claim
WHERE api_version = $api_version
HAVING max(processed_date) IS NOT NULL;
