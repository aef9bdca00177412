-- One row per person and pair of attribution lists that follow each other: who joined, left, stayed, or changed the MBI.
-- Key: list_at, person_key.
-- Source: roster of full runs, one for each list, of any version of the API: a list is the same in each.
-- Column list_at: Date of the list, UTC; of the run where the list's date is not known
-- Column previous_list_at: Date of the list before, UTC
-- Column person_key: Person, stable across MBI changes and versions
-- Column change: joined, left, stayed or MBI changed
-- Column mbi_current: MBI on the list; on the list before for who left
-- Trap: People who opted out leave the list like everyone else who leaves; BCDA does not say why.
CREATE OR REPLACE VIEW main.roster_change AS
WITH list AS (
  SELECT
    coalesce(list_at, transaction_time) AS list_at,
    max_by(run_id, (transaction_time, run_id)) AS run_id
  FROM ops.export_run
  WHERE is_full
    AND export_scope IN ('patient', 'group-all')
    AND list_contains(resource_types, 'Patient')
    AND NOT EXISTS (SELECT 1 FROM ops.setting AS d WHERE d.name = 'disposed list ' || run_id)
  GROUP BY ALL
),
pair AS (
  SELECT
    list_at,
    run_id,
    lag(list_at) OVER (ORDER BY list_at) AS previous_list_at,
    lag(run_id) OVER (ORDER BY list_at) AS previous_run_id
  FROM list
),
person AS (
  SELECT l.run_id, p.person_key, min(o.mbi_current) AS mbi_current
  FROM list AS l
  JOIN main.roster AS o
    ON o.run_id = l.run_id
  JOIN main.patient AS p
    ON p.api_version = o.api_version
    AND p.patient_id = o.patient_id
    AND NOT p.is_stub
  GROUP BY ALL
),
side AS (
  SELECT r.list_at, r.previous_list_at, n.person_key, n.mbi_current AS mbi_now, NULL AS mbi_before, true AS is_now
  FROM pair AS r
  JOIN person AS n
    ON n.run_id = r.run_id
  WHERE r.previous_run_id IS NOT NULL
  UNION ALL
  SELECT r.list_at, r.previous_list_at, b.person_key, NULL, b.mbi_current, false
  FROM pair AS r
  JOIN person AS b
    ON b.run_id = r.previous_run_id
)
SELECT
  list_at,
  previous_list_at,
  person_key,
  CASE
    WHEN NOT bool_or(is_now) THEN 'left'
    WHEN bool_and(is_now) THEN 'joined'
    WHEN max(mbi_now) IS DISTINCT FROM max(mbi_before) THEN 'MBI changed'
    ELSE 'stayed'
  END AS change,
  coalesce(max(mbi_now), max(mbi_before)) AS mbi_current
FROM side
GROUP BY list_at, previous_list_at, person_key;
