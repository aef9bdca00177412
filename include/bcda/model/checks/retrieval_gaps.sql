-- People whose data BCDA could not retrieve, or sent in lines that could not be read, and no run has brought since, by type. So many that something is wrong at BCDA; ask again.
-- Level: warning
-- Threshold: 0.1
SELECT
  g.resource_type AS scope,
  any_value(p.people) AS rows_checked,
  count(DISTINCT coalesce(g.mbi, g.patient_id, '')) AS rows_failed
FROM ops.gap AS g
CROSS JOIN (SELECT count(*) AS people FROM patient WHERE api_version = $api_version AND NOT is_stub) AS p
WHERE g.api_version = $api_version
  AND g.closed_run_id IS NULL
  AND g.needs = 'changes'
GROUP BY g.resource_type;
