-- Days from the end of a service to the day CMS had processed its claim, by claim type and over all types that are shown
-- (NULL), for services of two years up to three months ago: of later ones the slow claims are not here yet. Claim types of
-- fewer than 11 people have NULL only, and are left out of the row over all, which would tell them by subtraction.
-- Parameters: until.
WITH claim_days AS (
  SELECT
    shown_type(claim_type) AS claim_type,
    person_key,
    date_diff('day', service_thru, processed_date) AS days
  FROM claim_current
  WHERE payer_type = 'FFS'
    AND service_thru >= $until - INTERVAL 24 MONTH
    AND service_thru < $until - INTERVAL 3 MONTH
    AND processed_date >= service_thru
),
kind AS (
  SELECT claim_type, shown(count(DISTINCT person_key)) AS people
  FROM claim_days
  GROUP BY ALL
),
summary AS (
  SELECT
    claim_type,
    count(*) AS claims,
    count(DISTINCT person_key) AS people,
    quantile_cont(days, [0.1, 0.5, 0.9]) AS days,
    avg(CASE WHEN days <= 30 THEN 1.0 ELSE 0.0 END) AS in_30,
    avg(CASE WHEN days <= 90 THEN 1.0 ELSE 0.0 END) AS in_90
  FROM claim_days
  WHERE claim_type IN (SELECT claim_type FROM kind WHERE people IS NOT NULL)
  GROUP BY GROUPING SETS ((claim_type), ())
  HAVING count(*) > 0
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
FROM summary
UNION ALL BY NAME
SELECT claim_type, people
FROM kind
WHERE people IS NULL
ORDER BY claim_type NULLS FIRST;
