-- Current claims without what CCLF tools join by or filter on; such tools drop these rows.
-- Level: warning
-- Threshold: 0
SELECT
  'provider_ccn' AS scope,
  count(*) AS rows_checked,
  count(*) FILTER (WHERE provider_ccn IS NULL) AS rows_failed
FROM claim
WHERE api_version = $api_version
  AND is_current
  AND claim_type IN ('INPATIENT', 'OUTPATIENT', 'SNF', 'HOSPICE', 'HHA')
UNION ALL
SELECT 'control_number', count(*), count(*) FILTER (WHERE control_number IS NULL)
FROM claim
WHERE api_version = $api_version
  AND is_current
  AND claim_type <> 'PDE'
UNION ALL
SELECT 'processed_date', count(*), count(*) FILTER (WHERE processed_date IS NULL)
FROM claim
WHERE api_version = $api_version
  AND is_current
  AND claim_type <> 'PDE'
UNION ALL
SELECT 'payment_denial_code', count(*), count(*) FILTER (WHERE payment_denial_code IS NULL)
FROM claim
WHERE api_version = $api_version
  AND is_current
  AND claim_type IN ('CARRIER', 'DME')
UNION ALL
SELECT 'processing_code', count(*), count(*) FILTER (WHERE l.processing_code IS NULL)
FROM claim_line AS l
JOIN claim AS c
  ON c.api_version = l.api_version
  AND c.claim_id = l.claim_id
WHERE c.api_version = $api_version
  AND c.is_current
  AND c.claim_type IN ('CARRIER', 'DME');
