-- A line of an error file that could not be read may name anybody, so every requested type counts as having a gap.
-- Parameters: run columns, resource_types, brings_history.
INSERT INTO ops.gap BY NAME
SELECT
  $api_version AS api_version,
  $export_scope AS export_scope,
  t.resource_type,
  NULL AS mbi,
  n.needs,
  $since_ts::TIMESTAMP AS since_ts,
  $transaction_time AS transaction_time,
  $run_id AS opened_run_id
FROM (SELECT unnest($resource_types::VARCHAR[]) AS resource_type) AS t
JOIN (VALUES ('changes'), ('history')) AS n(needs)
  ON n.needs = 'changes'
  OR $brings_history
WHERE EXISTS (
  SELECT 1
  FROM ops.export_file AS f
  WHERE f.run_id = $run_id AND f.kind = 'error' AND f.lines_quarantined > 0
);
