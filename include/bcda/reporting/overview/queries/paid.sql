-- Medicare payments of fee-for-service claims by month of service and claim type, and people by month alone (claim_type is NULL), with the numbers of
-- few people still in it; `cells.shown_payments` withholds them. All months are here, because the run report has all of them.
-- Drug events have no Medicare payment. Parameters: until.
SELECT
  CAST(date_trunc('month', service_thru) AS DATE) AS month,
  shown_type(claim_type) AS claim_type,
  count(DISTINCT person_key) AS people,
  sum(paid_amount)::DOUBLE AS paid
FROM claim_current
WHERE claim_type <> 'PDE'
  AND payer_type = 'FFS'
  AND service_thru <= $until
GROUP BY GROUPING SETS ((month, shown_type(claim_type)), (month))
ORDER BY month, claim_type NULLS FIRST;
