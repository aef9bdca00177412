-- Medicare payments by month of service and claim type over two years; NULL where they are of fewer than 11 people.
-- Drug events have no Medicare payment. Parameters: until.
WITH cell AS (
  SELECT
    CAST(date_trunc('month', service_thru) AS DATE) AS month,
    claim_type,
    shown(count(DISTINCT person_key)) AS people,
    count(*) AS claims,
    sum(paid_amount) AS paid
  FROM claim_current
  WHERE claim_type <> 'PDE'
    AND service_thru >= date_trunc('month', $until) - INTERVAL 23 MONTH
    AND service_thru <= $until
  GROUP BY ALL
)
SELECT
  month,
  claim_type,
  people,
  CASE WHEN people IS NOT NULL THEN claims END AS claims,
  CASE WHEN people IS NOT NULL THEN paid::DOUBLE END AS paid
FROM cell
ORDER BY ALL;
