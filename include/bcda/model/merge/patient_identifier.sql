-- Rows of `patient_identifier` for every new or changed resource of the run.
-- Parameters: files (lake files of `patient_identifier`), api_version, run_id.
INSERT INTO patient_identifier
SELECT
  $api_version,
  l.patient_id,
  l.id_system,
  l.id_value,
  l.id_kind,
  l.currency,
  l.period_start,
  l.period_end,
  $run_id,
  $run_id
FROM read_parquet($files, hive_partitioning = false) AS l
JOIN staged AS s
  ON s.raw_file = l.raw_file
  AND s.raw_line = l.raw_line
WHERE s.verdict IN ('new', 'changed');
