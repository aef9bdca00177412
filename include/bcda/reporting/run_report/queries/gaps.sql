-- People whose data is missing, per type: opened by the run, closed by it, and open in all for its version and population.
-- is_unnamed: BCDA did not say whom; closes: the run closed some, also of people whom nobody named. Parameters: run_id.
WITH run AS (
  SELECT api_version, export_scope = 'group-runout' AS is_runout FROM ops.export_run WHERE run_id = $run_id
),
told AS (
  SELECT resource_type, mbi, 'opened' AS what FROM ops.gap WHERE opened_run_id = $run_id
  UNION ALL
  SELECT resource_type, mbi, 'closed' FROM ops.gap WHERE closed_run_id = $run_id
  UNION ALL
  SELECT g.resource_type, g.mbi, CASE WHEN g.is_tried_again THEN 'open' ELSE 'given up' END
  FROM ops.open_gap AS g
  JOIN run AS r
    ON r.api_version = g.api_version
    AND r.is_runout = (g.export_scope = 'group-runout')
)
SELECT
  resource_type,
  count(DISTINCT mbi) FILTER (WHERE what = 'opened') AS opened,
  count(DISTINCT mbi) FILTER (WHERE what = 'closed') AS closed,
  count(DISTINCT mbi) FILTER (WHERE what = 'open') AS open,
  count(DISTINCT mbi) FILTER (WHERE what = 'given up') AS given_up,
  count(*) FILTER (WHERE mbi IS NULL AND what IN ('open', 'given up')) > 0 AS is_unnamed,
  count(*) FILTER (WHERE what = 'closed') > 0 AS closes
FROM told
GROUP BY resource_type
ORDER BY resource_type;
