-- One row per open gap with how often it was tried: what BCDA reported, what came in lines that could not be read, and people who
-- were away from the lists and came back. Key: opened_run_id, resource_type, mbi, patient_id, needs.
-- Source: ops.gap; roster of full runs. BCDA says nothing of who opts out; on their return it sends changes only from then on.
-- Column person: Whom it is about: the person_key, or what named the person if nothing else of the person is here; NULL when it can be anybody
-- Column needs: changes: those of the interval; history: everything, if the person is new on the list
-- Column tries: Runs that asked for this person and type and failed; for who came back, those since then
-- Column is_tried_again: Whether later runs request it automatically: not after three tries, nor after one full pull if it is from the beginning
-- Trap: Holds MBIs; it is not for reports that leave the warehouse.
CREATE OR REPLACE VIEW ops.open_gap AS
WITH full_list AS (
  SELECT
    api_version,
    export_scope,
    run_id,
    transaction_time,
    row_number() OVER (PARTITION BY api_version ORDER BY transaction_time, run_id) AS place
  FROM ops.export_run
  WHERE is_full
    AND export_scope <> 'group-runout'
    AND list_contains(resource_types, 'Patient')
    AND NOT EXISTS (SELECT 1 FROM ops.setting AS d WHERE d.name = 'disposed list ' || run_id)
),
named AS (
  SELECT
    f.api_version,
    f.export_scope,
    f.run_id,
    f.transaction_time,
    f.place,
    o.mbi_current AS mbi,
    o.patient_id,
    lag(f.place) OVER earlier AS seen_place,
    lag(f.transaction_time) OVER earlier AS seen_at
  FROM full_list AS f
  JOIN main.roster AS o
    ON o.run_id = f.run_id
  WINDOW earlier AS (PARTITION BY f.api_version, o.patient_id ORDER BY f.place)
),
full_pull AS (
  SELECT
    c.api_version,
    c.export_scope = 'group-runout' AS is_runout,
    c.resource_type,
    c.run_id,
    c.until_ts,
    EXISTS (
      SELECT 1
      FROM ops.gap AS o
      WHERE o.opened_run_id = c.run_id
        AND o.resource_type = c.resource_type
        AND o.since_ts IS NULL
    ) AS has_gaps
  FROM ops.coverage AS c
  WHERE c.since_ts IS NULL
),
-- A gap from the beginning is asked for once, by a full pull of its type. Whoever that one misses is not worth another.
again AS (
  SELECT
    run_id,
    resource_type,
    NOT coalesce(lag(has_gaps) OVER in_order, false) AND lead(run_id) OVER in_order IS NULL AS is_asked_for
  FROM full_pull
  WINDOW in_order AS (PARTITION BY api_version, is_runout, resource_type ORDER BY until_ts, run_id)
),
returned AS (
  SELECT
    n.*,
    t.resource_type,
    (
      SELECT count(*)
      FROM ops.gap AS o
      WHERE o.api_version = n.api_version
        AND o.export_scope <> 'group-runout'
        AND o.resource_type = t.resource_type
        AND (o.mbi = n.mbi OR o.patient_id = n.patient_id)
        AND o.needs = 'changes'
        AND o.transaction_time >= n.transaction_time
    ) AS tries
  FROM named AS n
  JOIN (SELECT DISTINCT api_version, resource_type FROM ops.coverage WHERE export_scope <> 'group-runout') AS t
    ON t.api_version = n.api_version
    AND t.resource_type <> 'Patient'
  WHERE n.seen_place < n.place - 1
    AND NOT EXISTS (
      SELECT 1
      FROM ops.coverage AS c
      WHERE c.api_version = n.api_version
        AND c.export_scope <> 'group-runout'
        AND c.resource_type = t.resource_type
        AND (c.since_ts IS NULL OR c.since_ts <= n.seen_at)
        AND c.until_ts >= n.transaction_time
        AND NOT EXISTS (
          SELECT 1
          FROM ops.gap AS o
          WHERE o.opened_run_id = c.run_id
            AND o.resource_type = c.resource_type
            AND (o.mbi = n.mbi OR o.patient_id = n.patient_id OR (o.mbi IS NULL AND o.patient_id IS NULL))
        )
    )
),
listed AS (
  SELECT
    g.api_version,
    g.export_scope,
    g.resource_type,
    g.mbi,
    g.patient_id,
    g.needs,
    g.since_ts,
    g.transaction_time,
    g.opened_run_id,
    count(*) OVER tries AS tries,
    count(*) OVER tries < {gap_tries} AND (g.since_ts IS NOT NULL OR coalesce(a.is_asked_for, true)) AS is_tried_again
  FROM ops.gap AS g
  LEFT JOIN again AS a
    ON a.run_id = g.opened_run_id
    AND a.resource_type = g.resource_type
  WHERE g.closed_run_id IS NULL
  WINDOW tries AS (
    PARTITION BY g.api_version, g.export_scope = 'group-runout', g.resource_type, g.mbi, g.patient_id, g.needs
  )
  UNION ALL
  SELECT api_version, export_scope, resource_type, mbi, NULL, 'changes', seen_at, transaction_time, run_id, tries, tries < {gap_tries}
  FROM returned
),
by_mbi AS (
  SELECT api_version, mbi_current, min(person_key) AS person_key
  FROM main.patient
  WHERE mbi_current IS NOT NULL
  GROUP BY ALL
)
SELECT
  g.api_version,
  g.export_scope,
  g.resource_type,
  coalesce(p.person_key, m.person_key, g.mbi, g.patient_id) AS person,
  g.mbi,
  g.patient_id,
  g.needs,
  g.since_ts,
  g.transaction_time,
  g.opened_run_id,
  g.tries,
  g.is_tried_again
FROM listed AS g
LEFT JOIN main.patient AS p
  ON p.api_version = g.api_version
  AND p.patient_id = g.patient_id
LEFT JOIN by_mbi AS m
  ON m.api_version = g.api_version
  AND m.mbi_current = g.mbi;
