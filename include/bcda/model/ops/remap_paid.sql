-- Claims that count and their money, by API version and claim type, in one of two databases; records of Medicare Advantage apart.
SELECT
  c.api_version || ' ' || CASE WHEN c.claim_type IS NULL THEN 'without type' WHEN c.claim_type IN {types} THEN c.claim_type ELSE '{other}' END
    || CASE WHEN c.nch_claim_type IN ('61', '62', '63') OR c.nch_claim_type LIKE '4___' THEN ' (Medicare Advantage)' ELSE '' END AS name,
  count(*) AS claims,
  sum(c.paid_amount) AS paid,
  sum(d.gross_drug_cost) AS drug_cost
FROM {database}.main.claim AS c
LEFT JOIN {database}.main.claim_drug AS d
  ON d.api_version = c.api_version
  AND d.claim_id = c.claim_id
WHERE c.is_current
GROUP BY ALL;
