-- People whose data is missing, per type: opened by the run, closed by it, and open in all for its version and population.
-- is_unnamed: nothing says whom; closes: the run closed some, also of people whom nobody named. Parameters: run_id.
WITH run AS (
  SELECT api_version, export_scope = 'group-runout' AS is_runout FROM ops.export_run WHERE run_id = $run_id
),
by_mbi AS (
  SELECT api_version, mbi_current, min(person_key) AS person_key
  FROM patient
  WHERE mbi_current IS NOT NULL
  GROUP BY ALL
),
-- As in ops.open_gap.
gap AS (
  SELECT g.*, coalesce(p.person_key, m.person_key, g.mbi, g.patient_id) AS person
  FROM ops.gap AS g
  LEFT JOIN patient AS p
    ON p.api_version = g.api_version
    AND p.patient_id = g.patient_id
  LEFT JOIN by_mbi AS m
    ON m.api_version = g.api_version
    AND m.mbi_current = g.mbi
),
told AS (
  SELECT resource_type, person, 'opened' AS what FROM gap WHERE opened_run_id = $run_id
  UNION ALL
  SELECT resource_type, person, 'closed' FROM gap WHERE closed_run_id = $run_id
  UNION ALL
  SELECT g.resource_type, g.person, CASE WHEN g.is_tried_again THEN 'open' ELSE 'given up' END
  FROM ops.open_gap AS g
  JOIN run AS r
    ON r.api_version = g.api_version
    AND r.is_runout = (g.export_scope = 'group-runout')
)
SELECT
  resource_type,
  count(DISTINCT person) FILTER (WHERE what = 'opened') AS opened,
  count(DISTINCT person) FILTER (WHERE what = 'closed') AS closed,
  count(DISTINCT person) FILTER (WHERE what = 'open') AS open,
  count(DISTINCT person) FILTER (WHERE what = 'given up') AS given_up,
  count(*) FILTER (WHERE person IS NULL AND what IN ('open', 'given up')) > 0 AS is_unnamed,
  count(*) FILTER (WHERE what = 'closed') > 0 AS closes
FROM told
GROUP BY resource_type
ORDER BY resource_type;
