-- Rows of `coverage` for every new or changed resource of the run.
-- Parameters: files (lake files of `coverage`), api_version, run_id.
INSERT INTO coverage
SELECT
  $api_version,
  l.coverage_id,
  l.patient_id,
  l.part,
  l.status,
  l.period_start,
  l.period_end,
  l.contract_id,
  l.pbp_id,
  l.medicare_status_code,
  l.original_entitlement_code,
  l.current_entitlement_code,
  l.esrd_code,
  l.termination_code,
  l.dual_status_code,
  l.buy_in_code,
  l.reference_year,
  l.is_stub,
  s.meta_last_updated,
  $run_id
FROM read_parquet($files, hive_partitioning = false) AS l
JOIN staged AS s
  ON s.raw_file = l.raw_file
  AND s.raw_line = l.raw_line
WHERE s.verdict IN ('new', 'changed');
