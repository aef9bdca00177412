-- One row per resource line of the run, with what the merge will do with it.
-- Parameters: files (lake files of `resource`), api_version, transaction_time.
-- Within a run the newest line of a resource counts, then the last read; across runs the newer
-- (meta.lastUpdated, transactionTime) wins, an equal pair included. Source: table model §4, rules 2 to 5.
CREATE TEMP TABLE staged AS
WITH incoming AS (
  SELECT
    resource_type,
    resource_id,
    meta_last_updated,
    content_hash,
    raw_file,
    raw_line,
    row_number() OVER (
      PARTITION BY resource_type, resource_id
      ORDER BY meta_last_updated DESC NULLS LAST, raw_file DESC, raw_line DESC
    ) AS place
  FROM read_parquet($files, hive_partitioning = false)
)
SELECT
  i.resource_type,
  i.resource_id,
  i.meta_last_updated,
  i.content_hash,
  i.raw_file,
  i.raw_line,
  CASE
    WHEN i.place > 1 THEN 'duplicate'
    WHEN v.resource_id IS NULL THEN 'new'
    WHEN v.content_hash = i.content_hash THEN 'unchanged'
    WHEN coalesce(i.meta_last_updated, TIMESTAMP '-infinity') > coalesce(v.meta_last_updated, TIMESTAMP '-infinity') THEN 'changed'
    WHEN coalesce(i.meta_last_updated, TIMESTAMP '-infinity') = coalesce(v.meta_last_updated, TIMESTAMP '-infinity')
      AND $transaction_time >= v.transaction_time THEN 'changed'
    ELSE 'older'
  END AS verdict
FROM incoming AS i
LEFT JOIN resource_version AS v
  ON v.api_version = $api_version
  AND v.resource_type = i.resource_type
  AND v.resource_id = i.resource_id
  AND v.is_latest;
