-- Checks of level error that the newest run of some version did not pass.
SELECT d.run_id, d.check_id, d.scope, d.rows_checked, d.rows_failed, d.detail
FROM ops.dq_result AS d
JOIN (
  SELECT max_by(run_id, (finished_at, transaction_time, run_id)) AS run_id
  FROM ops.export_run
  GROUP BY api_version
) AS newest
  ON newest.run_id = d.run_id
WHERE d.severity = 'error'
  AND NOT d.passed
ORDER BY d.check_id, d.scope;
