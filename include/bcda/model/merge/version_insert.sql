-- New, changed and late versions of resources; a late one never becomes the latest.
-- Parameters: api_version, run_id, transaction_time.
INSERT INTO resource_version
SELECT
  $api_version,
  resource_type,
  resource_id,
  content_hash,
  meta_last_updated,
  $transaction_time,
  $run_id,
  $run_id,
  verdict <> 'older'
FROM staged
WHERE verdict IN ('new', 'changed', 'older');
