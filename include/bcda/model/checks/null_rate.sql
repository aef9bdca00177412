-- Columns of the current claims whose share of empty values moved by more than ten points since the run before.
-- Level: warning
-- Threshold: 0.1
WITH share AS (
  UNPIVOT (
    SELECT
      claim_type,
      count(*) AS claims,
      count(*) - count(principal_dx) AS principal_dx,
      count(*) - count(provider_npi) AS provider_npi,
      count(*) - count(provider_ccn) AS provider_ccn,
      count(*) - count(attending_npi) AS attending_npi,
      count(*) - count(control_number) AS control_number,
      count(*) - count(processed_date) AS processed_date,
      count(*) - count(service_from) AS service_from,
      count(*) - count(charge_amount) AS charge_amount,
      count(*) - count(drg_code) AS drg_code
    FROM claim
    WHERE api_version = $api_version
      AND is_current
    GROUP BY claim_type
  )
  ON COLUMNS(* EXCLUDE (claim_type, claims))
  INTO NAME column_name VALUE empty
),
earlier AS (
  SELECT d.scope, max_by(d.rows_failed / nullif(d.rows_checked, 0), r.transaction_time) AS share
  FROM ops.dq_result AS d
  JOIN ops.export_run AS r
    ON r.run_id = d.run_id
  WHERE d.check_id = 'null_rate'
    AND r.api_version = $api_version
    AND r.transaction_time < (SELECT transaction_time FROM ops.export_run WHERE run_id = $run_id)
  GROUP BY d.scope
)
SELECT
  s.claim_type || '.' || s.column_name AS scope,
  s.claims AS rows_checked,
  s.empty AS rows_failed,
  coalesce(abs(s.empty / s.claims - e.share), 0) AS observed
FROM share AS s
LEFT JOIN earlier AS e
  ON e.scope = s.claim_type || '.' || s.column_name;
