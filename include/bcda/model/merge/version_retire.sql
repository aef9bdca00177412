-- The stored version of every changed resource is no longer the latest.
-- Parameters: api_version.
UPDATE resource_version AS v
SET is_latest = false
FROM staged AS s
WHERE s.verdict = 'changed'
  AND v.api_version = $api_version
  AND v.resource_type = s.resource_type
  AND v.resource_id = s.resource_id
  AND v.is_latest;
