-- The months of every Coverage of the run: those of each year (v1, v2) or period (v3) as the newest delivery that is about them has
-- them, also by silence. Months that no newer delivery is about stay as they are.
-- Reads stated, delivered_month and coverage_until. Parameters: api_version.
DELETE FROM coverage_month AS m
USING stated AS s
WHERE m.api_version = $api_version
  AND m.coverage_id = s.coverage_id
  AND NOT s.is_same
  AND ($api_version = 'v3' OR m.month_start BETWEEN s.period_start AND s.period_end);

-- v3: who is on the newest list no longer.
DELETE FROM coverage_month AS m
USING coverage_until AS b, coverage_until AS n
WHERE $api_version = 'v3'
  AND m.api_version = $api_version
  AND m.coverage_id = n.coverage_id
  AND b.coverage_id = n.coverage_id
  AND b.is_before
  AND NOT n.is_before
  AND n.until < b.until
  AND m.month_start > n.until;

-- v3: all months of the Coverages of the run; of the others those since the month up to which they counted before, so that a run
-- costs what it brings and what a new month adds. A period ends where a newer delivery's period begins. If that one says the same
-- within the older period, it corrects its start, and all months of its year are its own.
-- One statement for all versions: of a second INSERT after one without rows, DuckDB 2.0.0 shows no row in that transaction.
INSERT INTO coverage_month BY NAME
WITH growing AS (
  SELECT n.coverage_id, n.until, CASE WHEN s.coverage_id IS NULL THEN b.until + INTERVAL 1 MONTH END AS grows_from
  FROM coverage_until AS n
  LEFT JOIN coverage_until AS b
    ON b.coverage_id = n.coverage_id
    AND b.is_before
  LEFT JOIN (SELECT DISTINCT coverage_id FROM stated WHERE NOT is_same) AS s
    ON s.coverage_id = n.coverage_id
  WHERE NOT n.is_before
    AND (s.coverage_id IS NOT NULL OR n.until > coalesce(b.until, TIMESTAMP '-infinity'))
),
period AS (
  SELECT
    p.*,
    g.until,
    g.grows_from,
    row_number() OVER (
      PARTITION BY p.coverage_id
      ORDER BY coalesce(p.meta_last_updated, TIMESTAMP '-infinity'), p.as_of, p.content_hash, p.period_start
    ) AS place
  FROM coverage_period AS p
  JOIN growing AS g
    ON g.coverage_id = p.coverage_id
  WHERE p.api_version = $api_version
    AND $api_version = 'v3'
),
newer AS (
  SELECT
    o.coverage_id,
    o.place,
    min(date_trunc(
      CASE
        WHEN n.period_start > o.period_start
          AND n.period_start <= coalesce(o.period_end, n.period_start)
          AND n.period_start <= coalesce(n.period_end, n.period_start)
          AND (n.dual_code, n.buyin_code, n.contract_id, n.pbp_id, n.plan_type, n.segment_id, n.cost_share_code)
            IS NOT DISTINCT FROM (o.dual_code, o.buyin_code, o.contract_id, o.pbp_id, o.plan_type, o.segment_id, o.cost_share_code)
        THEN 'year'
        ELSE 'month'
      END,
      n.period_start)) AS next_start
  FROM period AS o
  JOIN period AS n
    ON n.coverage_id = o.coverage_id
    AND n.place > o.place
  GROUP BY o.coverage_id, o.place
),
month AS (
  SELECT
    p.*,
    CAST(unnest(generate_series(
      greatest(date_trunc('month', p.period_start), p.grows_from),
      least(CAST(p.period_end AS TIMESTAMP), n.next_start - INTERVAL 1 DAY, p.until),
      INTERVAL 1 MONTH
    )) AS DATE) AS month_start
  FROM period AS p
  LEFT JOIN newer AS n
    ON n.coverage_id = p.coverage_id
    AND n.place = p.place
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

DROP TABLE coverage_until;
