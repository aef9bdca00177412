-- The number of people moved by more than a tenth since the last full list.
-- Level: warning
-- Threshold: 0.1
WITH lists AS (
  SELECT r.run_id, r.transaction_time, count(*) AS people
  FROM roster AS o
  JOIN ops.export_run AS r
    ON r.run_id = o.run_id
  WHERE r.api_version = $api_version
    AND r.is_full
    AND r.export_scope IN ('patient', 'group-all')
  GROUP BY r.run_id, r.transaction_time
)
SELECT
  '' AS scope,
  now.people AS rows_checked,
  abs(now.people - earlier.people) AS rows_failed,
  abs(now.people / earlier.people - 1) AS observed
FROM lists AS now
JOIN lists AS earlier
  ON earlier.transaction_time < now.transaction_time
WHERE now.run_id = $run_id
QUALIFY row_number() OVER (ORDER BY earlier.transaction_time DESC) = 1;
