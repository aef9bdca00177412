-- The ledger row of a run. Parameters: its columns by name.
INSERT INTO ops.export_run BY NAME
SELECT
  $run_id AS run_id,
  $source_id AS source_id,
  $api_version AS api_version,
  $export_scope AS export_scope,
  $resource_types::VARCHAR[] AS resource_types,
  $since_ts::TIMESTAMP AS since_ts,
  $transaction_time AS transaction_time,
  $is_full AS is_full,
  $type_filter AS type_filter,
  $reason AS reason,
  $list_at::TIMESTAMP AS list_at,
  $asked_at::TIMESTAMP AS asked_at,
  $job_id AS job_id,
  'done' AS status,
  $started_at AS started_at,
  $finished_at AS finished_at,
  $output_files AS output_files,
  $error_files AS error_files,
  $lines_read AS lines_read,
  $rows_landed AS rows_landed,
  $lines_quarantined AS lines_quarantined;
