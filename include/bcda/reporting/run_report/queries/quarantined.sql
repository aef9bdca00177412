-- Why lines were quarantined, per type. Parameters: run_id.
-- Beyond a number, lines of a file and reason are counted and not listed; they have no reason here.
SELECT resource_type, reason, count(*) AS lines
FROM ops.quarantine
WHERE run_id = $run_id
GROUP BY ALL
UNION ALL
SELECT f.resource_type, 'not listed one by one' AS reason, f.lines - coalesce(q.lines, 0) AS lines
FROM (
  SELECT resource_type, sum(lines_quarantined)::BIGINT AS lines
  FROM ops.export_file
  WHERE run_id = $run_id
  GROUP BY resource_type
) AS f
LEFT JOIN (
  SELECT resource_type, count(*) AS lines
  FROM ops.quarantine
  WHERE run_id = $run_id
  GROUP BY resource_type
) AS q
  ON q.resource_type = f.resource_type
WHERE f.lines > coalesce(q.lines, 0)
ORDER BY ALL;
