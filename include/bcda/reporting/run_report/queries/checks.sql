-- Checks of the run that did not pass, errors first. Parameters: run_id.
-- is_of_few: the part is a claim type of fewer than 11 people.
SELECT
  check_id,
  scope,
  severity,
  rows_checked,
  rows_failed,
  detail,
  split_part(scope, '.', 1) IN (SELECT claim_type FROM claim GROUP BY claim_type HAVING count(DISTINCT patient_id) < 11) AS is_of_few
FROM ops.dq_result
WHERE run_id = $run_id
  AND NOT passed
ORDER BY severity, check_id, scope;
