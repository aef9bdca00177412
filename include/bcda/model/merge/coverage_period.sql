-- What the run states about coverage: each year (v1, v2) or period (v3), where it is newer than what is known of it.
-- Reads delivered_coverage and delivered_month, the run's rows, also those of lines that are not the newest of their resource:
-- they can be about another year. Content that came before and is the newest still changes no month.
-- Parameters: api_version, run_id, transaction_time.
CREATE TEMP TABLE stated AS
WITH line AS (
  SELECT c.*, s.meta_last_updated, s.content_hash
  FROM delivered_coverage AS c
  JOIN staged AS s
    ON s.resource_type = 'Coverage'
    AND s.raw_file = c.raw_file
    AND s.raw_line = c.raw_line
),
period AS (
  SELECT l.* REPLACE (make_date(y.year, 1, 1) AS period_start, make_date(y.year, 12, 31) AS period_end)
  FROM line AS l
  JOIN (
    SELECT raw_file, raw_line, reference_year AS year FROM delivered_coverage WHERE reference_year IS NOT NULL
    UNION
    SELECT raw_file, raw_line, year(month_start) FROM delivered_month
  ) AS y
    ON y.raw_file = l.raw_file
    AND y.raw_line = l.raw_line
  WHERE $api_version <> 'v3'
  UNION ALL
  SELECT *
  FROM line
  WHERE $api_version = 'v3'
    AND period_start IS NOT NULL
  UNION ALL
  -- Without a period nobody is enrolled from then on; what was before stays.
  SELECT * REPLACE (
    CAST(date_trunc('month', meta_last_updated) AS DATE) AS period_start,
    CAST(date_trunc('month', meta_last_updated) AS DATE) - 1 AS period_end
  )
  FROM line
  WHERE $api_version = 'v3'
    AND period_start IS NULL
    AND meta_last_updated IS NOT NULL
)
SELECT
  coalesce(k.content_hash = p.content_hash AND ($api_version <> 'v3' OR k.is_newest), false) AS is_same,
  p.* REPLACE (CASE WHEN is_same THEN coalesce(p.disposed_months, k.disposed_months) ELSE p.disposed_months END AS disposed_months)
FROM period AS p
LEFT JOIN (
  SELECT
    *,
    row_number() OVER (
      PARTITION BY coverage_id
      ORDER BY meta_last_updated DESC NULLS LAST, as_of DESC, content_hash DESC, period_start DESC
    ) = 1 AS is_newest
  FROM coverage_period
  WHERE api_version = $api_version
    AND coverage_id IN (SELECT coverage_id FROM line)
) AS k
  ON k.coverage_id = p.coverage_id
  AND k.period_start = p.period_start
WHERE k.coverage_id IS NULL
  OR (coalesce(p.meta_last_updated, TIMESTAMP '-infinity'), $transaction_time, p.content_hash, $run_id)
    > (coalesce(k.meta_last_updated, TIMESTAMP '-infinity'), k.as_of, k.content_hash, k.run_id)
QUALIFY row_number() OVER (
  PARTITION BY p.coverage_id, p.period_start
  ORDER BY p.meta_last_updated DESC NULLS LAST, p.content_hash DESC, p.raw_file DESC, p.raw_line DESC
) = 1;

DELETE FROM coverage_period AS p
USING stated AS s
WHERE p.api_version = $api_version
  AND p.coverage_id = s.coverage_id
  AND p.period_start = s.period_start;

INSERT INTO coverage_period BY NAME
SELECT
  $api_version AS api_version,
  coverage_id,
  patient_id,
  part,
  period_start,
  period_end,
  CASE WHEN $api_version = 'v3' THEN dual_status_code END AS dual_code,
  CASE WHEN $api_version = 'v3' THEN buy_in_code END AS buyin_code,
  CASE WHEN $api_version = 'v3' THEN contract_id END AS contract_id,
  CASE WHEN $api_version = 'v3' THEN pbp_id END AS pbp_id,
  CASE WHEN $api_version = 'v3' THEN plan_type_code END AS plan_type,
  CASE WHEN $api_version = 'v3' THEN plan_segment_id END AS segment_id,
  cost_share_code,
  disposed_months,
  content_hash,
  meta_last_updated,
  $transaction_time AS as_of,
  $run_id AS run_id
FROM stated;
