-- The same for runs of a release that opened no gap for quarantined lines, or that did not note whom they named: they can be about
-- anybody. Run once, when this release first opens the database to write. See gap_quarantined.
INSERT INTO ops.gap BY NAME
SELECT
  r.api_version,
  r.export_scope,
  f.resource_type,
  NULL AS mbi,
  n.needs,
  r.since_ts,
  r.transaction_time,
  r.run_id AS opened_run_id
FROM ops.export_run AS r
JOIN (
  SELECT run_id, resource_type
  FROM ops.export_file
  WHERE kind = 'output'
    AND lines_quarantined > 0
  UNION
  SELECT run_id, unnest(resource_types)
  FROM ops.export_run
  WHERE run_id IN (SELECT run_id FROM ops.export_file WHERE kind = 'deleted' AND lines_read > 0)
) AS f
  ON f.run_id = r.run_id
JOIN (VALUES ('changes'), ('history')) AS n(needs)
  ON n.needs = 'changes'
  OR (r.export_scope = 'group-all' AND r.since_ts IS NOT NULL)
WHERE NOT EXISTS (
  SELECT 1
  FROM ops.gap AS g
  WHERE g.opened_run_id = r.run_id
    AND g.resource_type = f.resource_type
    AND g.needs = n.needs
    AND g.mbi IS NULL
);
