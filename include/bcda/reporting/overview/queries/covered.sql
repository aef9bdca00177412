-- Intervals that are covered without a break, by version, population and resource type; since_ts is NULL for the beginning.
WITH run AS (
  SELECT
    api_version,
    CASE WHEN export_scope = 'group-runout' THEN 'runout' ELSE 'current' END AS population,
    resource_type,
    since_ts,
    until_ts,
    max(until_ts) OVER (
      PARTITION BY api_version, population, resource_type
      ORDER BY since_ts NULLS FIRST, until_ts
      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS reached
  FROM ops.coverage
),
island AS (
  SELECT
    *,
    count(*) FILTER (WHERE since_ts > reached) OVER (
      PARTITION BY api_version, population, resource_type
      ORDER BY since_ts NULLS FIRST, until_ts
      ROWS UNBOUNDED PRECEDING
    ) AS number
  FROM run
)
SELECT
  api_version,
  population,
  resource_type,
  CASE WHEN bool_or(since_ts IS NULL) THEN NULL ELSE min(since_ts) END AS since_ts,
  max(until_ts) AS until_ts,
  min(until_ts) AS first_until_ts,
  count(*) AS runs
FROM island
GROUP BY api_version, population, resource_type, number
ORDER BY ALL;
