-- Rows of `patient` for every new or changed resource of the run; `person_key` is set afterwards.
-- Parameters: files (lake files of `patient`), api_version, run_id.
INSERT INTO patient
SELECT
  $api_version,
  l.patient_id,
  NULL,
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
WHERE s.verdict IN ('new', 'changed');
