-- Content that a resource had before and has again gets one row, not two.
-- Parameters: api_version.
DELETE FROM resource_version AS v
USING staged AS s
WHERE s.verdict IN ('changed', 'older')
  AND v.api_version = $api_version
  AND v.resource_type = s.resource_type
  AND v.resource_id = s.resource_id
  AND v.content_hash = s.content_hash
  AND NOT v.is_latest;
