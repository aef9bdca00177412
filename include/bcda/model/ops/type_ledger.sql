-- What runs cover, for some types. Parameters: api_version, is_runout, resource_types.
SELECT
  c.resource_type,
  c.since_ts,
  c.until_ts,
  c.known_until,
  c.list_at,
  c.brings_history AND NOT EXISTS (
    SELECT 1
    FROM ops.open_gap AS g
    WHERE g.opened_run_id = c.run_id
      AND g.resource_type = c.resource_type
      AND g.needs = 'history'
      AND g.is_tried_again
  ) AS brings_history
FROM ops.coverage AS c
WHERE c.api_version = $api_version
  AND (c.export_scope = 'group-runout') = $is_runout
  AND list_contains($resource_types::VARCHAR[], c.resource_type);
