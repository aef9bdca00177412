-- One row per resource line of the run, with what the merge will do with it.
-- Reads lake_rows: the run's lake files of `resource`. Parameters: api_version, transaction_time, latest.
-- A meta.lastUpdated after `latest` cannot be true and counts as none: nothing that comes later could replace such a line.
-- Within a run the newest line of a resource counts. Across runs the content that was delivered with the greatest
-- (meta.lastUpdated, transactionTime) counts. The greatest content hash settles a draw, so that neither the order of files
-- and lines nor that in which runs are merged makes a difference. Source: docs/table-model.md#versions-of-a-resource.
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
      ORDER BY meta_last_updated DESC NULLS LAST, content_hash DESC, raw_file DESC, raw_line DESC
    ) AS place
  FROM (
    SELECT * REPLACE (CASE WHEN meta_last_updated <= $latest THEN meta_last_updated END AS meta_last_updated)
    FROM lake_rows
  )
),
known AS (
  SELECT
    v.resource_type,
    v.resource_id,
    v.content_hash,
    v.meta_last_updated,
    v.transaction_time,
    v.is_latest
  FROM resource_version AS v
  JOIN (SELECT DISTINCT resource_type, resource_id FROM incoming) AS i
    ON i.resource_type = v.resource_type
    AND i.resource_id = v.resource_id
  WHERE v.api_version = $api_version
)
SELECT
  i.resource_type,
  i.resource_id,
  i.meta_last_updated,
  i.content_hash,
  i.raw_file,
  i.raw_line,
  same.content_hash IS NOT NULL AS is_known_content,
  CASE
    WHEN i.place > 1 THEN 'duplicate'
    WHEN latest.resource_id IS NULL THEN 'new'
    WHEN latest.content_hash = i.content_hash THEN 'unchanged'
    WHEN (coalesce(i.meta_last_updated, TIMESTAMP '-infinity'), $transaction_time, i.content_hash)
      > (coalesce(latest.meta_last_updated, TIMESTAMP '-infinity'), latest.transaction_time, latest.content_hash) THEN 'changed'
    ELSE 'older'
  END AS verdict
FROM incoming AS i
LEFT JOIN known AS latest
  ON latest.resource_type = i.resource_type
  AND latest.resource_id = i.resource_id
  AND latest.is_latest
LEFT JOIN known AS same
  ON same.resource_type = i.resource_type
  AND same.resource_id = i.resource_id
  AND same.content_hash = i.content_hash;
