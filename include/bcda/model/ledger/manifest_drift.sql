-- Fields of the run's manifest that this release does not know. Parameters: api_version, run_id, fields.
UPDATE ops.drift AS d
SET occurrences = d.occurrences + 1
FROM (SELECT unnest($fields::VARCHAR[]) AS path) AS n
WHERE d.api_version = $api_version
  AND d.resource_type = 'Manifest'
  AND d.path = n.path;

INSERT INTO ops.drift BY NAME
SELECT
  $api_version AS api_version,
  'Manifest' AS resource_type,
  n.path,
  $run_id AS first_run_id,
  'manifest.json' AS first_file_name,
  1 AS first_line_number,
  1 AS occurrences
FROM (SELECT unnest($fields::VARCHAR[]) AS path) AS n
WHERE NOT EXISTS (
  SELECT 1
  FROM ops.drift AS d
  WHERE d.api_version = $api_version
    AND d.resource_type = 'Manifest'
    AND d.path = n.path
);
