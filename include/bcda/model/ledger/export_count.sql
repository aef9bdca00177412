-- What became of the resources of each requested type; a type that brought nothing gets zeros.
-- Parameters: run_id, resource_types.
INSERT INTO ops.export_count
WITH asked AS (
  SELECT unnest($resource_types::VARCHAR[]) AS resource_type
),
verdicts AS (
  SELECT
    resource_type,
    count(*) FILTER (WHERE verdict = 'new') AS new_resources,
    count(*) FILTER (WHERE verdict = 'changed') AS changed,
    count(*) FILTER (WHERE verdict = 'unchanged') AS unchanged,
    count(*) FILTER (WHERE verdict = 'older') AS older,
    count(*) FILTER (WHERE verdict = 'duplicate') AS duplicates
  FROM staged
  GROUP BY resource_type
),
received AS (
  SELECT
    resource_type,
    count(*) AS files,
    sum(lines_read)::BIGINT AS lines,
    sum(lines_quarantined)::BIGINT AS quarantined
  FROM ops.export_file
  WHERE run_id = $run_id AND kind = 'output'
  GROUP BY resource_type
)
SELECT
  $run_id,
  a.resource_type,
  coalesce(r.files, 0),
  coalesce(r.lines, 0),
  coalesce(v.new_resources, 0),
  coalesce(v.changed, 0),
  coalesce(v.unchanged, 0),
  coalesce(v.older, 0),
  coalesce(v.duplicates, 0),
  coalesce(r.quarantined, 0)
FROM asked AS a
LEFT JOIN verdicts AS v ON v.resource_type = a.resource_type
LEFT JOIN received AS r ON r.resource_type = a.resource_type;
