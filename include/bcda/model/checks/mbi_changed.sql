-- People whose current MBI is another one than in the run before.
-- Level: info
-- Threshold: 0
SELECT
  '' AS scope,
  count(*) AS rows_checked,
  count(*) FILTER (WHERE now.mbi_current IS DISTINCT FROM earlier.mbi_current) AS rows_failed
FROM roster AS now
JOIN (
  SELECT o.patient_id, max_by(o.mbi_current, r.transaction_time) AS mbi_current
  FROM roster AS o
  JOIN ops.export_run AS r
    ON r.run_id = o.run_id
  WHERE o.api_version = $api_version
    AND r.transaction_time < (SELECT transaction_time FROM ops.export_run WHERE run_id = $run_id)
  GROUP BY o.patient_id
) AS earlier
  ON earlier.patient_id = now.patient_id
WHERE now.run_id = $run_id;
