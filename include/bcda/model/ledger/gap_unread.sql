-- A line of an error file that could not be read may name anybody, so every requested type counts as having a gap.
-- Parameters: run columns, resource_types.
INSERT INTO ops.gap
SELECT
  $api_version,
  $export_scope,
  t.resource_type,
  NULL,
  $since_ts::TIMESTAMP,
  $transaction_time,
  $run_id,
  NULL
FROM (SELECT unnest($resource_types::VARCHAR[]) AS resource_type) AS t
WHERE EXISTS (
  SELECT 1
  FROM ops.export_file AS f
  WHERE f.run_id = $run_id AND f.kind = 'error' AND f.lines_quarantined > 0
);
