-- Content never seen before; a late one does not become the latest.
-- Parameters: api_version, run_id, transaction_time.
INSERT INTO resource_version BY NAME
SELECT
  $api_version AS api_version,
  resource_type,
  resource_id,
  content_hash,
  meta_last_updated,
  $transaction_time AS transaction_time,
  meta_last_updated AS first_meta_last_updated,
  $run_id AS first_run_id,
  $transaction_time AS first_seen,
  $run_id AS last_run_id,
  $transaction_time AS last_seen,
  verdict <> 'older' AS is_latest,
  raw_file,
  raw_line
FROM staged
WHERE NOT is_known_content
  AND verdict <> 'duplicate';
