-- The newest run of each version without a passed result of each check of level error: it failed, or nobody looked.
-- Parameters: check_ids (all checks of level error), run_ids (runs that are checked anyhow).
SELECT r.run_id
FROM (
  SELECT max_by(run_id, (finished_at, transaction_time, run_id)) AS run_id
  FROM ops.export_run
  GROUP BY api_version
) AS r
LEFT JOIN ops.dq_result AS d
  ON d.run_id = r.run_id
  AND list_contains($check_ids::VARCHAR[], d.check_id)
WHERE NOT list_contains($run_ids::VARCHAR[], r.run_id)
GROUP BY r.run_id
HAVING NOT coalesce(bool_and(d.passed), false)
  OR count(DISTINCT d.check_id) < len($check_ids::VARCHAR[])
ORDER BY r.run_id;
