-- Entries of the ledger whose numbers do not add up: lines read, landed and quarantined, and what became of each resource. Rebuild the working database with `python -m bcda rebuild-warehouse`; if it fails again, report it.
-- Level: error
-- Threshold: 0
SELECT
  'file' AS scope,
  count(*) AS rows_checked,
  count(*) FILTER (WHERE f.lines_read <> f.rows_landed + f.lines_quarantined) AS rows_failed
FROM ops.export_file AS f
JOIN ops.export_run AS r
  ON r.run_id = f.run_id
WHERE r.api_version = $api_version
UNION ALL
SELECT
  'run',
  count(*),
  count(*) FILTER (
    WHERE (r.lines_read, r.rows_landed, r.lines_quarantined)
      IS DISTINCT FROM (coalesce(f.lines_read, 0), coalesce(f.rows_landed, 0), coalesce(f.lines_quarantined, 0))
  )
FROM ops.export_run AS r
LEFT JOIN (
  SELECT
    run_id,
    sum(lines_read)::BIGINT AS lines_read,
    sum(rows_landed)::BIGINT AS rows_landed,
    sum(lines_quarantined)::BIGINT AS lines_quarantined
  FROM ops.export_file
  GROUP BY run_id
) AS f
  ON f.run_id = r.run_id
WHERE r.api_version = $api_version
UNION ALL
SELECT
  'resource type',
  count(*),
  count(*) FILTER (
    WHERE c.lines <> c.new_resources + c.changed + c.unchanged + c.older + c.duplicates + c.quarantined
      -- Of what was disposed of, the lines are still counted; a database that is rebuilt has fewer resources.
      AND NOT (
        c.lines > c.new_resources + c.changed + c.unchanged + c.older + c.duplicates + c.quarantined
        AND EXISTS (SELECT 1 FROM ops.setting AS d WHERE d.name = 'disposed ' || c.run_id)
      )
  )
FROM ops.export_count AS c
JOIN ops.export_run AS r
  ON r.run_id = c.run_id
WHERE r.api_version = $api_version;
