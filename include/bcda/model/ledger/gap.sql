-- People whose data BCDA could not retrieve: they are missing from the run although it completed.
-- A text that names no type counts for every requested type. Source: wire contract §16, error files.
-- Parameters: files (lake files of `operation_outcome`), run columns, resource_types.
INSERT INTO ops.gap
WITH failure AS (
  SELECT
    regexp_extract(text, 'Error retrieving ([A-Za-z]+) for beneficiary MBI', 1) AS named_type,
    nullif(regexp_extract(text, 'MBI ([0-9A-Za-z]+)', 1), '') AS mbi
  FROM read_parquet($files, hive_partitioning = false)
  WHERE severity IN ('error', 'fatal')
)
SELECT DISTINCT
  $api_version,
  $export_scope,
  t.resource_type,
  f.mbi,
  $since_ts::TIMESTAMP,
  $transaction_time,
  $run_id,
  NULL
FROM failure AS f
JOIN (SELECT unnest($resource_types::VARCHAR[]) AS resource_type) AS t
  ON f.named_type = t.resource_type
  OR NOT list_contains($resource_types::VARCHAR[], f.named_type);
