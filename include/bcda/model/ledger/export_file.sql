-- The ledger rows of a run's files: all at once, since a statement for each costs a millisecond.
-- Parameters: run_id, and of each other column a list with one value a file.
INSERT INTO ops.export_file BY NAME
SELECT
  $run_id AS run_id,
  unnest($batch) AS batch,
  unnest($file_name) AS file_name,
  unnest($kind) AS kind,
  unnest($resource_type) AS resource_type,
  unnest($wire_bytes) AS wire_bytes,
  unnest($wire_sha256) AS wire_sha256,
  unnest($content_bytes) AS content_bytes,
  unnest($lines_read) AS lines_read,
  unnest($rows_landed) AS rows_landed,
  unnest($lines_quarantined) AS lines_quarantined;
