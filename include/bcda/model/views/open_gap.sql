-- One row per open gap with how often it was tried.
-- Key: opened_run_id, resource_type, mbi, needs.
-- Source: ops.gap.
-- Column tries: Runs that asked for this person and type and failed
-- Column is_tried_again: Whether later runs go back for it; after three tries it waits for the next full pull
-- Trap: Holds MBIs; it is not for reports that leave the warehouse.
CREATE VIEW ops.open_gap AS
SELECT
  g.api_version,
  g.export_scope,
  g.resource_type,
  g.mbi,
  g.needs,
  g.since_ts,
  g.transaction_time,
  g.opened_run_id,
  count(*) OVER tries AS tries,
  count(*) OVER tries < 3 AS is_tried_again
FROM ops.gap AS g
WHERE g.closed_run_id IS NULL
WINDOW tries AS (
  PARTITION BY g.api_version, g.export_scope = 'group-runout', g.resource_type, g.mbi, g.needs
);
