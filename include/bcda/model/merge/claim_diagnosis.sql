-- Rows of `claim_diagnosis` for every new or changed resource of the run.
-- Parameters: files (lake files of `claim_diagnosis`), api_version.
INSERT INTO claim_diagnosis
SELECT
  $api_version,
  l.claim_id,
  l.sequence,
  l.dx_code,
  l.icd_version,
  l.dx_type,
  l.is_principal,
  l.is_admitting,
  l.is_external,
  l.poa_code,
  l.source_position
FROM read_parquet($files, hive_partitioning = false) AS l
JOIN staged AS s
  ON s.raw_file = l.raw_file
  AND s.raw_line = l.raw_line
WHERE s.verdict IN ('new', 'changed');
