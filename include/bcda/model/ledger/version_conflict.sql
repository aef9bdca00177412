-- Resources of the run whose newest lastUpdated came with several contents, with the content that counts.
-- Parameters: api_version, run_id.
INSERT INTO ops.version_conflict BY NAME
SELECT
  $run_id AS run_id,
  $api_version AS api_version,
  s.resource_type,
  s.resource_id,
  kept.meta_last_updated,
  count(DISTINCT s.content_hash) AS contents,
  kept.content_hash
FROM staged AS s
JOIN staged AS kept
  ON kept.resource_type = s.resource_type
  AND kept.resource_id = s.resource_id
  AND kept.meta_last_updated IS NOT DISTINCT FROM s.meta_last_updated
WHERE kept.verdict <> 'duplicate'
GROUP BY ALL
HAVING count(DISTINCT s.content_hash) > 1;
