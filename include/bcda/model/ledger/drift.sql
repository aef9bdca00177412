-- What was never seen before, with where it was first and how often.
-- Reads lake_rows: the run's lake files of `drift`. Parameters: api_version, run_id.
CREATE TEMP TABLE drifted AS
SELECT
  resource_type,
  path,
  min((raw_file, raw_line)) AS first_place,
  sum(occurrences)::BIGINT AS occurrences
FROM lake_rows
GROUP BY resource_type, path;

UPDATE ops.drift AS d
SET occurrences = d.occurrences + n.occurrences
FROM drifted AS n
WHERE d.api_version = $api_version
  AND d.resource_type = n.resource_type
  AND d.path = n.path;

INSERT INTO ops.drift BY NAME
SELECT
  $api_version AS api_version,
  resource_type,
  path,
  $run_id AS first_run_id,
  first_place[1] AS first_file_name,
  first_place[2] AS first_line_number,
  occurrences
FROM drifted AS n
WHERE NOT EXISTS (
  SELECT 1
  FROM ops.drift AS d
  WHERE d.api_version = $api_version
    AND d.resource_type = n.resource_type
    AND d.path = n.path
);

DROP TABLE drifted;
