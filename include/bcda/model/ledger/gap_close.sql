-- A gap is closed by a later run that asked for at least its interval and had no gap of that type.
-- Parameters: run columns.
UPDATE ops.gap AS g
SET closed_run_id = $run_id
FROM ops.coverage AS c
WHERE c.run_id = $run_id
  AND g.closed_run_id IS NULL
  AND g.opened_run_id <> $run_id
  AND g.api_version = c.api_version
  AND g.export_scope = c.export_scope
  AND g.resource_type = c.resource_type
  AND (c.since_ts IS NULL OR c.since_ts <= g.since_ts)
  AND c.until_ts >= g.transaction_time;
