-- Open gaps by version, population, resource type and interval; people is NULL for fewer than 11.
SELECT
  api_version,
  CASE WHEN export_scope = 'group-runout' THEN 'runout' ELSE 'current' END AS population,
  resource_type,
  since_ts,
  transaction_time AS until_ts,
  shown(count(DISTINCT coalesce(mbi, ''))) AS people,
  bool_or(is_tried_again) AS is_tried_again
FROM ops.open_gap
GROUP BY ALL
ORDER BY ALL;
