-- Open gaps by version, population, resource type and interval; people is NULL for fewer than 11.
-- A published database of an earlier release knows people by `mbi` alone; here `person` comes first.
SELECT
  api_version,
  CASE WHEN export_scope = 'group-runout' THEN 'runout' ELSE 'current' END AS population,
  resource_type,
  since_ts,
  transaction_time AS until_ts,
  shown(count(DISTINCT coalesce(*COLUMNS('^(person|mbi)$'), ''))) AS people,
  bool_or(is_tried_again) AS is_tried_again
FROM ops.open_gap
GROUP BY ALL
ORDER BY ALL;
