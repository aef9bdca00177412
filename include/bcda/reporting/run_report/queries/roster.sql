-- Who joined and left, of the list that a full run with Patient was made from. Parameters: run_id.
SELECT
  c.list_at,
  c.previous_list_at,
  count(*) FILTER (WHERE c.change = 'joined') AS joined,
  count(*) FILTER (WHERE c.change = 'left') AS "left",
  count(*) FILTER (WHERE c.change IN ('stayed', 'MBI changed')) AS stayed
FROM ops.export_run AS r
JOIN roster_change AS c
  ON c.list_at = coalesce(r.list_at, r.transaction_time)
WHERE r.run_id = $run_id
  AND r.is_full
  AND r.export_scope IN ('patient', 'group-all')
  AND list_contains(r.resource_types, 'Patient')
  AND r.api_version = (SELECT value FROM ops.setting WHERE name = 'shown_api_version')
GROUP BY ALL;
