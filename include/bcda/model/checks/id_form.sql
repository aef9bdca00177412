-- v1, v2: ids that are not claim type, hyphen, claim number. The mapping no longer fits what BCDA sends; report it.
-- Level: error
-- Threshold: 0
SELECT
  claim_type AS scope,
  count(*) AS rows_checked,
  count(*) FILTER (WHERE claim_id IS DISTINCT FROM lower(claim_type) || '-' || claim_number) AS rows_failed
FROM claim
WHERE api_version = $api_version
  AND api_version IN ('v1', 'v2')
  AND claim_type <> 'UNKNOWN'
GROUP BY claim_type;
