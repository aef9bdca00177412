-- People on the newest list of each month, and who joined and left with the lists of the month, with the numbers of few people
-- still in it; `cells.shown_roster` withholds them. has_few: a list of the month has 1 to 10 people who joined, left or stayed.
WITH change AS (
  SELECT
    CAST(date_trunc('month', list_at) AS DATE) AS month,
    list_at,
    count(*) FILTER (WHERE change = 'joined') AS joined,
    count(*) FILTER (WHERE change = 'left') AS "left",
    count(*) FILTER (WHERE change IN ('stayed', 'MBI changed')) AS stayed
  FROM roster_change
  GROUP BY ALL
),
of_month AS (
  SELECT
    month,
    sum(joined)::BIGINT AS joined,
    sum("left")::BIGINT AS "left",
    bool_or(shown(joined) IS NULL OR shown("left") IS NULL OR shown(stayed) IS NULL) AS has_few
  FROM change
  GROUP BY month
),
people AS (
  SELECT month_start AS month, count(*) AS people
  FROM enrollment
  GROUP BY ALL
)
SELECT
  p.month,
  p.people,
  c.month IS NOT NULL AS has_list_before,
  c.joined,
  c."left",
  coalesce(c.has_few, false) AS has_few
FROM people AS p
LEFT JOIN of_month AS c USING (month)
ORDER BY p.month DESC;
