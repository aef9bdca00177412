-- v1, v2: ids that are not claim type, hyphen, claim number. The mapping no longer fits what BCDA sends; report it.
-- Level: warning
-- Threshold: 0
-- Suspect: the id is not claim type, hyphen, claim number
SELECT claim_id
FROM claim
WHERE api_version = $api_version
  AND api_version IN ('v1', 'v2')
  AND claim_id IS DISTINCT FROM lower(claim_type) || '-' || claim_number
  AND claim_type <> 'UNKNOWN';
