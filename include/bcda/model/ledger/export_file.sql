-- The ledger row of a file. Parameters: its columns by name.
INSERT INTO ops.export_file BY NAME
SELECT
  $run_id AS run_id,
  $batch AS batch,
  $file_name AS file_name,
  $kind AS kind,
  $resource_type AS resource_type,
  $wire_bytes AS wire_bytes,
  $wire_sha256 AS wire_sha256,
  $content_bytes AS content_bytes,
  $lines_read AS lines_read,
  $rows_landed AS rows_landed,
  $lines_quarantined AS lines_quarantined;
