-- People whose data BCDA could not retrieve in this run, by type. So many that something is wrong at BCDA; ask again.
-- Level: error
-- Threshold: 0.1
SELECT
  g.resource_type AS scope,
  any_value(p.people) AS rows_checked,
  count(DISTINCT coalesce(g.mbi, '')) AS rows_failed
FROM ops.gap AS g
CROSS JOIN (SELECT count(*) AS people FROM patient WHERE api_version = $api_version AND NOT is_stub) AS p
WHERE g.opened_run_id = $run_id
  AND g.needs = 'changes'
GROUP BY g.resource_type;
