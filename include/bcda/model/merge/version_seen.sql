-- Content that came again was seen by this run. Its lastUpdated moves here, so that a version in between, delivered
-- late, does not replace it; the core tables stay as they are.
-- Parameters: api_version, run_id, transaction_time.
UPDATE resource_version AS v
SET
  last_run_id = $run_id,
  meta_last_updated = greatest(v.meta_last_updated, s.meta_last_updated),
  transaction_time = greatest(v.transaction_time, $transaction_time)
FROM staged AS s
WHERE s.verdict = 'unchanged'
  AND v.api_version = $api_version
  AND v.resource_type = s.resource_type
  AND v.resource_id = s.resource_id
  AND v.is_latest;
