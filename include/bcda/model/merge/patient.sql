-- Rows of `patient` for every new or changed resource of the run.
-- Parameters: files, identifier_files (lake files of `patient` and `patient_identifier`), api_version, run_id.
-- person_key: hash of the person's smallest MBI, so that it stays when the current MBI changes.
INSERT INTO patient
WITH k AS (
  SELECT raw_file, raw_line, sha256(min(id_value)) AS person_key
  FROM read_parquet($identifier_files, hive_partitioning = false)
  WHERE id_kind = 'MBI'
  GROUP BY raw_file, raw_line
)
SELECT
  $api_version,
  l.patient_id,
  k.person_key,
  l.mbi_current,
  NULL,
  l.first_name,
  l.middle_name,
  l.last_name,
  l.birth_date,
  l.death_date,
  l.is_deceased,
  l.sex_code,
  l.race_code,
  l.address_lines,
  l.city,
  l.state_raw,
  l.state_usps,
  l.state_fips,
  l.zip5,
  l.zip4,
  l.dual_status_latest,
  l.reference_year,
  l.is_stub,
  s.meta_last_updated,
  $run_id
FROM read_parquet($files, hive_partitioning = false) AS l
JOIN staged AS s
  ON s.raw_file = l.raw_file
  AND s.raw_line = l.raw_line
LEFT JOIN k
  ON k.raw_file = l.raw_file
  AND k.raw_line = l.raw_line
WHERE s.verdict IN ('new', 'changed');
