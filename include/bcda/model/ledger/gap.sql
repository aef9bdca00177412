-- People whose data BCDA could not retrieve: they are missing from the run although it completed.
-- A text that names no type counts for every requested type. Source: wire contract §16, error files.
-- From a Group run with `_since` a new person would have got everything, so two things are missing then.
-- Reads lake_rows: the run's lake files of `operation_outcome`. Parameters: run columns, resource_types, brings_history.
INSERT INTO ops.gap BY NAME
WITH failure AS (
  SELECT
    regexp_extract(text, 'Error retrieving ([A-Za-z]+) for beneficiary MBI', 1) AS named_type,
    nullif(regexp_extract(text, 'MBI ([0-9A-Za-z]+)', 1), '') AS mbi
  FROM lake_rows
  WHERE severity IN ('error', 'fatal')
)
SELECT DISTINCT
  $api_version AS api_version,
  $export_scope AS export_scope,
  t.resource_type,
  f.mbi,
  n.needs,
  $since_ts::TIMESTAMP AS since_ts,
  $transaction_time AS transaction_time,
  $run_id AS opened_run_id
FROM failure AS f
JOIN (SELECT unnest($resource_types::VARCHAR[]) AS resource_type) AS t
  ON f.named_type = t.resource_type
  OR NOT list_contains($resource_types::VARCHAR[], f.named_type)
JOIN (VALUES ('changes'), ('history')) AS n(needs)
  ON n.needs = 'changes'
  OR $brings_history;
