-- Checks of the newest run of the shown version; numbers of rows are NULL for fewer than 11 rows, and of a claim type of fewer than 11
-- people.
WITH few AS (
  SELECT claim_type
  FROM claim
  GROUP BY claim_type
  HAVING shown(count(DISTINCT patient_id)) IS NULL
)
SELECT
  d.run_id,
  d.check_id,
  d.scope,
  d.severity,
  d.passed,
  CASE WHEN split_part(d.scope, '.', 1) NOT IN (FROM few) THEN shown(d.rows_checked) END AS rows_checked,
  CASE WHEN split_part(d.scope, '.', 1) NOT IN (FROM few) THEN shown(d.rows_failed) END AS rows_failed,
  d.detail
FROM ops.dq_result AS d
WHERE d.run_id = (
  SELECT max_by(run_id, (finished_at, transaction_time, run_id))
  FROM ops.export_run
  WHERE api_version = (SELECT value FROM ops.setting WHERE name = 'shown_api_version')
)
ORDER BY d.passed, list_position(['error', 'warning', 'info'], d.severity), d.check_id, d.scope;
