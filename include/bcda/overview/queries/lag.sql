-- Days from the end of a service to the day CMS had processed its claim, by claim type and over all (NULL), for services of
-- two years up to three months ago: of later ones the slow claims are not here yet. NULL for fewer than 11 people.
-- Parameters: until.
WITH claim_days AS (
  SELECT claim_type, person_key, date_diff('day', service_thru, processed_date) AS days
  FROM claim_current
  WHERE service_thru >= $until - INTERVAL 24 MONTH
    AND service_thru < $until - INTERVAL 3 MONTH
    AND processed_date >= service_thru
),
by_type AS (
  SELECT
    claim_type,
    count(*) AS claims,
    shown(count(DISTINCT person_key)) AS people,
    quantile_cont(days, [0.1, 0.5, 0.9]) AS days,
    avg(CASE WHEN days <= 30 THEN 1.0 ELSE 0.0 END) AS in_30,
    avg(CASE WHEN days <= 90 THEN 1.0 ELSE 0.0 END) AS in_90
  FROM claim_days
  GROUP BY GROUPING SETS ((claim_type), ())
)
SELECT
  claim_type,
  claims,
  people,
  days[1] AS quick_days,
  days[2] AS median_days,
  days[3] AS slow_days,
  in_30,
  in_90
FROM by_type
WHERE people > 0
ORDER BY claim_type NULLS FIRST;
