-- Claims without a payment amount. Sums of paid_amount would be too small; report the claim type.
-- Level: warning
-- Threshold: 0
-- Suspect: no payment amount
SELECT claim_id
FROM claim
WHERE api_version = $api_version
  AND paid_amount IS NULL
  AND claim_type <> 'PDE'
  AND claim_use IS DISTINCT FROM 'preauthorization';
