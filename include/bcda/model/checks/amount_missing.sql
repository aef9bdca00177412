-- Claims without a payment amount. Sums of paid_amount would be too small; report the claim type.
-- Level: error
-- Threshold: 0
SELECT
  claim_type AS scope,
  count(*) AS rows_checked,
  count(*) FILTER (WHERE paid_amount IS NULL) AS rows_failed
FROM claim
WHERE api_version = $api_version
  AND claim_type <> 'PDE'
  AND claim_use IS DISTINCT FROM 'preauthorization'
GROUP BY claim_type;
