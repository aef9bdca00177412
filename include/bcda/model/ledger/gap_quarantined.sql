-- Lines of data that were quarantined: what they held is missing from the run although it completed, of the people that they name.
-- A line that names nobody, and one that is counted and not listed, can be about anybody.
-- A file of what BCDA deleted is about every type; nothing is deleted here, so what it names is wrong until it is looked at.
-- Reads quarantined. A line of someone who was disposed of has an empty text there: it opens no gap when the database is rebuilt.
-- Parameters: run_id.
INSERT INTO ops.gap BY NAME
WITH run AS (
  FROM ops.export_run
  WHERE run_id = $run_id
),
named AS (
  SELECT f.resource_type, q.patient_id, q.mbi
  FROM quarantined AS q
  JOIN ops.export_file AS f
    ON f.run_id = $run_id
    AND f.file_name = q.raw_file
    AND f.kind = 'output'
  WHERE coalesce(q.patient_id, q.mbi) IS NOT NULL
),
counted AS (
  SELECT
    f.resource_type,
    sum(f.lines_quarantined) > (SELECT count(*) FROM named AS n WHERE n.resource_type = f.resource_type) AS is_anybody
  FROM ops.export_file AS f
  WHERE f.run_id = $run_id
    AND f.kind = 'output'
  GROUP BY f.resource_type
),
missing AS (
  SELECT resource_type, patient_id, mbi
  FROM named
  WHERE coalesce(patient_id, mbi) <> ''
  UNION
  SELECT resource_type, NULL, NULL
  FROM counted
  WHERE is_anybody
  UNION
  SELECT unnest(resource_types), NULL, NULL
  FROM run
  WHERE EXISTS (FROM ops.export_file AS f WHERE f.run_id = $run_id AND f.kind = 'deleted' AND f.lines_read > 0)
)
SELECT
  r.api_version,
  r.export_scope,
  f.resource_type,
  f.mbi,
  f.patient_id,
  n.needs,
  r.since_ts,
  r.transaction_time,
  r.run_id AS opened_run_id
FROM run AS r
CROSS JOIN missing AS f
JOIN (VALUES ('changes'), ('history')) AS n(needs)
  ON n.needs = 'changes'
  OR (r.export_scope = 'group-all' AND r.since_ts IS NOT NULL)
-- Of an unfinished claim BCDA can have reported the same person.
WHERE NOT EXISTS (
  SELECT 1
  FROM ops.gap AS g
  WHERE g.opened_run_id = r.run_id
    AND g.resource_type = f.resource_type
    AND g.needs = n.needs
    AND g.mbi IS NOT DISTINCT FROM f.mbi
    AND g.patient_id IS NOT DISTINCT FROM f.patient_id
);
