-- One row per person and month in which a full list of people named them: member months of the attributed population.
-- Key: person_key, month_start.
-- Source: roster of runs that asked for every Patient, of every version of the API: a list is the same in each.
-- Column month_start: First day of the month
-- Column month_end: Last day of the month
-- Trap: The month is that of the attribution list. A month without a list, as each January, has no rows.
CREATE OR REPLACE VIEW main.enrollment AS
SELECT
  p.person_key,
  max_by(p.mbi_current, r.transaction_time) AS mbi_current,
  CAST(date_trunc('month', coalesce(r.list_at, r.transaction_time)) AS DATE) AS month_start,
  last_day(CAST(coalesce(r.list_at, r.transaction_time) AS DATE)) AS month_end
FROM main.roster AS o
JOIN ops.export_run AS r
  ON r.run_id = o.run_id
  AND r.is_full
JOIN main.patient AS p
  ON p.api_version = o.api_version
  AND p.patient_id = o.patient_id
WHERE r.export_scope IN ('patient', 'group-all')
  AND NOT p.is_stub
GROUP BY ALL;
