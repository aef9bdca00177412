-- Checks of the run that did not pass, errors first. Parameters: run_id.
SELECT check_id, scope, severity, rows_checked, rows_failed, observed, threshold, detail
FROM ops.dq_result
WHERE run_id = $run_id
  AND NOT passed
ORDER BY severity, check_id, scope;
