-- What the run covers: every requested type; gaps are subtracted by whoever reads it. Parameters: run columns,
-- resource_types, uncovered_types (left out because a filter narrowed them), brings_history.
INSERT INTO ops.coverage BY NAME
SELECT
  $api_version AS api_version,
  $export_scope AS export_scope,
  t.resource_type,
  $since_ts::TIMESTAMP AS since_ts,
  $transaction_time AS until_ts,
  greatest($transaction_time, coalesce($asked_at::TIMESTAMP, $transaction_time)) AS known_until,
  $list_at::TIMESTAMP AS list_at,
  $brings_history AS brings_history,
  $run_id AS run_id
FROM (SELECT unnest($resource_types::VARCHAR[]) AS resource_type) AS t
WHERE NOT list_contains($uncovered_types::VARCHAR[], t.resource_type);
