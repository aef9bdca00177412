-- What came, per requested resource type. Parameters: run_id.
SELECT
  c.resource_type,
  c.files,
  coalesce(f.bytes, 0) AS bytes,
  c.lines,
  c.lines - c.quarantined AS landed,
  c.quarantined
FROM ops.export_count AS c
LEFT JOIN (
  SELECT resource_type, sum(wire_bytes)::BIGINT AS bytes
  FROM ops.export_file
  WHERE run_id = $run_id
    AND kind = 'output'
  GROUP BY resource_type
) AS f
  ON f.resource_type = c.resource_type
WHERE c.run_id = $run_id
ORDER BY c.resource_type;
