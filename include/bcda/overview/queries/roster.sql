-- People on the newest list of each month, and who joined and left with the lists of the month. When one of the two is of fewer than 11
-- people both are NULL: with the totals beside them the other would tell it.
WITH change AS (
  SELECT
    CAST(date_trunc('month', list_at) AS DATE) AS month,
    count(*) FILTER (WHERE change = 'joined') AS joined,
    count(*) FILTER (WHERE change = 'left') AS "left"
  FROM roster_change
  GROUP BY ALL
),
people AS (
  SELECT month_start AS month, shown(count(*)) AS people
  FROM enrollment
  GROUP BY ALL
)
SELECT
  p.month,
  p.people,
  c.month IS NOT NULL AS has_list_before,
  CASE WHEN shown(c.joined) IS NOT NULL AND shown(c."left") IS NOT NULL THEN c.joined END AS joined,
  CASE WHEN shown(c.joined) IS NOT NULL AND shown(c."left") IS NOT NULL THEN c."left" END AS "left"
FROM people AS p
LEFT JOIN change AS c USING (month)
ORDER BY p.month DESC
LIMIT 24;
