-- Intervals with someone missing, and whether later runs request them automatically. Parameters: api_version, is_runout, resource_types.
SELECT DISTINCT
  g.resource_type,
  g.since_ts,
  g.transaction_time,
  g.is_tried_again,
  g.opened_run_id
FROM ops.open_gap AS g
WHERE g.api_version = $api_version
  AND (g.export_scope = 'group-runout') = $is_runout
  AND list_contains($resource_types::VARCHAR[], g.resource_type)
  AND g.needs = 'changes';
