-- One row per person and month in which a full list of people named them: member months of the attributed population.
-- Key: person_key, month_start.
-- Source: roster of runs that asked for every Patient, of every version of the API: a list is the same in each.
-- Column month_start: First day of the month
-- Column month_end: Last day of the month
-- Column run_id: Newest run with a list of the month
-- Column file_date: Its transactionTime as date
-- Trap: The month is that of the attribution list. A month without a list, as each January, has no rows.
CREATE OR REPLACE VIEW main.enrollment AS
WITH list AS (
  SELECT
    run_id,
    transaction_time,
    CAST(date_trunc('month', coalesce(list_at, transaction_time)) AS DATE) AS month_start
  FROM ops.export_run
  WHERE is_full
    AND export_scope IN ('patient', 'group-all')
)
SELECT
  p.person_key,
  max_by(p.mbi_current, r.transaction_time) AS mbi_current,
  r.month_start,
  last_day(r.month_start) AS month_end,
  n.run_id,
  n.file_date
FROM main.roster AS o
JOIN list AS r
  ON r.run_id = o.run_id
JOIN (
  SELECT
    month_start,
    max_by(run_id, (transaction_time, run_id)) AS run_id,
    CAST(max(transaction_time) AS DATE) AS file_date
  FROM list
  GROUP BY month_start
) AS n
  ON n.month_start = r.month_start
JOIN main.patient AS p
  ON p.api_version = o.api_version
  AND p.patient_id = o.patient_id
WHERE NOT p.is_stub
GROUP BY ALL;
