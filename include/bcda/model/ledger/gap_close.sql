-- Which run closes each gap: the first that asked for at least its interval, of the same people, and did not fail for this
-- person. Asked again for every gap with each merge, so that the order of runs makes no difference.
-- Parameters: api_version.
UPDATE ops.gap AS g
SET closed_run_id = closing.run_id
FROM (
  SELECT
    g.opened_run_id, g.resource_type, g.mbi, g.needs,
    min_by(c.run_id, (c.until_ts, c.run_id)) AS run_id
  FROM ops.gap AS g
  LEFT JOIN ops.coverage AS c
    ON c.api_version = g.api_version
    AND (c.export_scope = 'group-runout') = (g.export_scope = 'group-runout')
    AND c.resource_type = g.resource_type
    AND c.run_id <> g.opened_run_id
    AND (c.since_ts IS NULL OR c.since_ts <= g.since_ts)
    AND c.until_ts >= g.transaction_time
    AND (g.needs = 'changes' OR c.since_ts IS NULL OR c.brings_history)
    AND NOT EXISTS (
      SELECT 1
      FROM ops.gap AS o
      WHERE o.opened_run_id = c.run_id
        AND o.resource_type = g.resource_type
        AND (o.mbi = g.mbi OR o.mbi IS NULL OR g.mbi IS NULL)
    )
  WHERE g.api_version = $api_version
  GROUP BY ALL
) AS closing
WHERE closing.opened_run_id = g.opened_run_id
  AND closing.resource_type = g.resource_type
  AND closing.mbi IS NOT DISTINCT FROM g.mbi
  AND closing.needs = g.needs
  AND closing.run_id IS DISTINCT FROM g.closed_run_id;
