-- One row per service month and claim type with what v2 and v3 hold of the people that both have: whether a switch changes results.
-- Key: service_month, claim_type.
-- Source: claims of both versions that count, without Medicare Advantage. People who left before the first load of v3 are in v2 alone,
-- and not compared.
-- Column service_month: First day of the month of the last day of service
-- Column claim_type: Type of claim
-- Column v2_claims: Claims of v2 that count
-- Column v3_claims: Claims of v3 that count
-- Column v2_paid_amount: Paid for them in v2, USD
-- Column v3_paid_amount: Paid for them in v3, USD
-- Column claims_differ: How many more or fewer v3 has
-- Column paid_differs: How much more or less v3 has paid, USD
-- Trap: Service months before v3's first load of a person, and the newest months, differ by when each version was loaded.
CREATE OR REPLACE VIEW main.version_comparison AS
SELECT
  CAST(date_trunc('month', service_thru) AS DATE) AS service_month,
  claim_type,
  count(*) FILTER (WHERE api_version = 'v2') AS v2_claims,
  count(*) FILTER (WHERE api_version = 'v3') AS v3_claims,
  sum(paid_amount) FILTER (WHERE api_version = 'v2') AS v2_paid_amount,
  sum(paid_amount) FILTER (WHERE api_version = 'v3') AS v3_paid_amount,
  v3_claims - v2_claims AS claims_differ,
  coalesce(v3_paid_amount, 0) - coalesce(v2_paid_amount, 0) AS paid_differs
FROM main.claim_counted
WHERE api_version IN ('v2', 'v3')
  AND payer_type = 'FFS'
  AND person_key IN (SELECT person_key FROM main.patient WHERE api_version = 'v2' AND NOT is_stub)
  AND person_key IN (SELECT person_key FROM main.patient WHERE api_version = 'v3' AND NOT is_stub)
GROUP BY ALL;
