-- Claims with a service before 1970 or after the run.
-- Level: warning
-- Threshold: 0
SELECT
  claim_type AS scope,
  count(*) AS rows_checked,
  count(*) FILTER (
    WHERE service_from < DATE '1970-01-01'
      OR service_thru > (SELECT CAST(transaction_time AS DATE) FROM ops.export_run WHERE run_id = $run_id)
  ) AS rows_failed
FROM claim
WHERE api_version = $api_version
GROUP BY claim_type;
