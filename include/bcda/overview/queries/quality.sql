-- Checks of the newest run of the shown version; rows_failed is NULL for fewer than 11 rows.
SELECT
  d.run_id,
  d.check_id,
  d.scope,
  d.severity,
  d.passed,
  d.rows_checked,
  shown(d.rows_failed) AS rows_failed,
  d.detail
FROM ops.dq_result AS d
WHERE d.run_id = (
  SELECT max_by(run_id, (finished_at, transaction_time, run_id))
  FROM ops.export_run
  WHERE api_version = (SELECT value FROM ops.setting WHERE name = 'shown_api_version')
)
ORDER BY d.passed, list_position(['error', 'warning', 'info'], d.severity), d.check_id, d.scope;
