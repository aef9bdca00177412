-- How far the data reaches and what it lacks, in words and in intervals, per version, population and type.
SELECT
  s.api_version,
  s.population,
  s.resource_type,
  s.covered_until,
  s.missing,
  count(DISTINCT (g.since_ts, g.transaction_time)) FILTER (WHERE g.transaction_time IS NOT NULL) AS gap_intervals
FROM ops.data_status AS s
LEFT JOIN ops.open_gap AS g
  ON g.api_version = s.api_version
  AND g.resource_type = s.resource_type
  AND (g.export_scope = 'group-runout') = (s.population = 'runout')
GROUP BY ALL
ORDER BY ALL;
