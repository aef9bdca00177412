-- The people of a run that asked for Patient.
-- Parameters: files (lake files of `patient`), api_version, run_id.
INSERT INTO roster BY NAME
SELECT
  $run_id AS run_id,
  $api_version AS api_version,
  l.patient_id,
  l.mbi_current
FROM read_parquet($files, hive_partitioning = false) AS l
JOIN staged AS s
  ON s.raw_file = l.raw_file
  AND s.raw_line = l.raw_line
WHERE s.verdict <> 'duplicate';
