-- Claims with a negative payment; CMS sends them for corrections.
-- Level: info
-- Threshold: 0
SELECT
  claim_type AS scope,
  count(*) AS rows_checked,
  count(*) FILTER (WHERE paid_amount < 0) AS rows_failed
FROM claim
WHERE api_version = $api_version
  AND is_current
GROUP BY claim_type;
