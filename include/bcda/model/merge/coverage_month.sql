-- The months of every Coverage of the run: those of each year (v1, v2) or from the start of each period on (v3) as the newest
-- delivery that is about them has them, also by silence. Months that no newer delivery is about stay as they are.
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

DELETE FROM coverage_month AS m
USING stated AS s
WHERE m.api_version = $api_version
  AND m.coverage_id = s.coverage_id
  AND NOT s.is_same
  AND ($api_version = 'v3' OR m.month_start BETWEEN s.period_start AND s.period_end);

-- v3: all months of the Coverages of the run; of the others those since the export that was the newest before, so that a run
-- costs what it brings and what a new month adds. A period ends where a newer delivery's period begins.
-- One statement for all versions: of a second INSERT after one without rows, DuckDB 2.0.0 shows no row in that transaction.
INSERT INTO coverage_month BY NAME
WITH export AS (
  SELECT
    date_trunc('month', max(transaction_time)) AS newest,
    date_trunc('month', max(transaction_time) FILTER (WHERE run_id <> $run_id)) AS before
  FROM ops.export_run
  WHERE api_version = $api_version
    AND list_contains(resource_types, 'Coverage')
),
period AS (
  SELECT
    p.*,
    e.newest,
    CASE WHEN p.coverage_id NOT IN (SELECT coverage_id FROM stated WHERE NOT is_same) THEN e.before + INTERVAL 1 MONTH END AS grows_from
  FROM coverage_period AS p
  JOIN export AS e
    ON e.newest > e.before
    OR p.coverage_id IN (SELECT coverage_id FROM stated WHERE NOT is_same)
  WHERE p.api_version = $api_version
    AND $api_version = 'v3'
),
linked AS (
  SELECT
    *,
    min(date_trunc('month', period_start)) OVER (
      PARTITION BY coverage_id
      ORDER BY coalesce(meta_last_updated, TIMESTAMP '-infinity'), as_of, content_hash, period_start
      ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
    ) AS next_start
  FROM period
),
month AS (
  SELECT
    *,
    CAST(unnest(generate_series(
      greatest(date_trunc('month', period_start), grows_from),
      least(CAST(period_end AS TIMESTAMP), next_start - INTERVAL 1 DAY, newest),
      INTERVAL 1 MONTH
    )) AS DATE) AS month_start
  FROM linked
)
SELECT $api_version AS api_version, d.* EXCLUDE (raw_file, raw_line)
FROM delivered_month AS d
JOIN stated AS s
  ON s.raw_file = d.raw_file
  AND s.raw_line = d.raw_line
  AND d.month_start BETWEEN s.period_start AND s.period_end
  AND NOT s.is_same
WHERE $api_version <> 'v3'
UNION ALL BY NAME
SELECT
  api_version,
  coverage_id,
  patient_id,
  part,
  month_start,
  dual_code,
  buyin_code,
  contract_id,
  pbp_id,
  plan_type,
  segment_id,
  cost_share_code
FROM month
WHERE NOT coalesce(list_contains(disposed_months, month_start), false);

DROP TABLE stated;
