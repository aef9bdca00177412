-- Which run closes each gap: the first that asked for at least its interval, of the same people, and did not fail for this
-- person. Asked again for every gap with each merge, after its people are in place, so that the order of runs makes no difference.
-- Two gaps can be about one person unless both name people, and these are known to be different. Parameters: api_version.
UPDATE ops.gap AS g
SET closed_run_id = closing.run_id
FROM (
  WITH known AS (
    SELECT patient_id, list(id_value) AS mbis
    FROM main.patient_identifier
    WHERE api_version = $api_version
      AND id_kind = 'MBI'
      AND patient_id IN (SELECT patient_id FROM ops.gap)
    GROUP BY patient_id
  ),
  named AS (
    SELECT g.*, CASE WHEN g.mbi IS NOT NULL THEN [g.mbi] ELSE k.mbis END AS mbis
    FROM ops.gap AS g
    LEFT JOIN known AS k
      ON k.patient_id = g.patient_id
    WHERE g.api_version = $api_version
  )
  SELECT
    g.opened_run_id, g.resource_type, g.mbi, g.patient_id, g.needs,
    min_by(c.run_id, (c.until_ts, c.run_id)) AS run_id
  FROM named AS g
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
      FROM named AS o
      WHERE o.opened_run_id = c.run_id
        AND o.resource_type = g.resource_type
        AND (
          o.patient_id = g.patient_id
          OR list_has_any(o.mbis, g.mbis)
          OR ((o.mbis IS NULL OR g.mbis IS NULL) AND (o.patient_id IS NULL OR g.patient_id IS NULL))
        )
    )
  GROUP BY ALL
) AS closing
WHERE closing.opened_run_id = g.opened_run_id
  AND closing.resource_type = g.resource_type
  AND closing.mbi IS NOT DISTINCT FROM g.mbi
  AND closing.patient_id IS NOT DISTINCT FROM g.patient_id
  AND closing.needs = g.needs
  AND closing.run_id IS DISTINCT FROM g.closed_run_id;
