-- One row per resource, its newest version, with the whole JSON text: what no column holds is here.
-- Key: api_version, resource_type, resource_id.
-- Source: resource_version and the lake's `resource`, which is read where it lies: {lake}.
-- Trap: Name resource_type and resource_id in the query; the texts are large. If the lake is encrypted, the session needs its
-- key before: PRAGMA add_parquet_key('bcda', 'KEY').
-- Column body: The resource as BCDA sent it, JSON text; ask with body ->> '$.path'. If an object has a key twice, that gives the first; the tables have the last
-- Column export_date: Partition of the lake that holds it
CREATE OR REPLACE VIEW main.resource AS
SELECT
  v.api_version,
  v.resource_type,
  v.resource_id,
  v.meta_last_updated,
  v.content_hash,
  v.first_run_id,
  v.last_run_id,
  l.export_date,
  v.raw_file,
  v.raw_line,
  l.body
FROM main.resource_version AS v
JOIN read_parquet('{lake}/resource/*/*/*{else}*.parquet', hive_partitioning = true, union_by_name = true{encryption}) AS l
  ON l.api_version = v.api_version
  AND l.run_id = v.first_run_id
  AND l.resource_type = v.resource_type
  AND l.resource_id = v.resource_id
  AND l.raw_file = v.raw_file
  AND l.raw_line = v.raw_line
WHERE v.is_latest;
