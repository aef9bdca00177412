-- People whose data BCDA could not retrieve: they are missing from the run although it completed.
-- A text that names no type counts for every requested type. Source: wire contract §16, error files.
-- From a Group run with `_since` a new person would have got everything, so two things are missing then.
-- Reads outcome. Parameters: run columns, resource_types, brings_history.
-- Trap: Whatever is not said to be harmless is a failure: a severity or a text that is missing must not move the watermark.
INSERT INTO ops.gap BY NAME
WITH failure AS (
  SELECT
    regexp_extract(coalesce(text, ''), 'Error retrieving ([A-Za-z]+) for beneficiary MBI', 1) AS named_type,
    nullif(regexp_extract(coalesce(text, ''), 'MBI ([0-9A-Za-z]+)', 1), '') AS mbi
  FROM outcome
  WHERE coalesce(severity, '') NOT IN ('warning', 'information')
),
-- A line that was set aside, or that has no issue, may be about anybody.
silent AS (
  SELECT
    '' AS named_type,
    NULL AS mbi
  FROM ops.export_file AS f
  LEFT JOIN (SELECT raw_file, count(DISTINCT raw_line) AS lines FROM outcome GROUP BY raw_file) AS o
    ON o.raw_file = f.file_name
  WHERE f.run_id = $run_id
    AND f.kind = 'error'
    AND f.lines_read > coalesce(o.lines, 0)
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
FROM (FROM failure UNION ALL FROM silent) AS f
JOIN (SELECT unnest($resource_types::VARCHAR[]) AS resource_type) AS t
  ON f.named_type = t.resource_type
  OR NOT list_contains($resource_types::VARCHAR[], f.named_type)
JOIN (VALUES ('changes'), ('history')) AS n(needs)
  ON n.needs = 'changes'
  OR $brings_history;
