-- What the run covers: every requested type without a gap. A type with a gap is held back, so that the next run
-- asks from the old instant again. Parameters: run columns, resource_types.
INSERT INTO ops.coverage
SELECT
  $api_version,
  $export_scope,
  t.resource_type,
  $since_ts::TIMESTAMP,
  $transaction_time,
  $run_id
FROM (SELECT unnest($resource_types::VARCHAR[]) AS resource_type) AS t
WHERE NOT EXISTS (
  SELECT 1 FROM ops.gap AS g WHERE g.opened_run_id = $run_id AND g.resource_type = t.resource_type
);
