-- The people of a run that asked for Patient.
-- Reads lake_rows: the run's lake files of `patient`. Parameters: api_version, run_id.
INSERT INTO roster BY NAME
SELECT
  $run_id AS run_id,
  $api_version AS api_version,
  l.patient_id,
  l.mbi_current
FROM lake_rows AS l
JOIN staged AS s
  ON s.raw_file = l.raw_file
  AND s.raw_line = l.raw_line
WHERE s.verdict <> 'duplicate'
  -- A list that was disposed of does not come back with a database that is rebuilt.
  AND NOT EXISTS (SELECT 1 FROM ops.setting AS d WHERE d.name = 'disposed list ' || $run_id);
