-- Current claims whose lines do not add up to what the claim says was paid.
-- Level: warning
-- Threshold: 0.05
SELECT
  claim_type AS scope,
  count(*) AS rows_checked,
  count(*) FILTER (WHERE abs(header - lines) > 0.01) AS rows_failed
FROM (
  SELECT
    c.claim_type,
    c.claim_id,
    c.paid_amount AS header,
    CASE
      WHEN bool_and(l.is_total_line) THEN sum(l.paid_amount)
      ELSE sum(l.paid_amount) FILTER (WHERE NOT l.is_total_line)
    END AS lines
  FROM claim AS c
  JOIN claim_line AS l
    ON l.api_version = c.api_version
    AND l.claim_id = c.claim_id
  WHERE c.api_version = $api_version
    AND c.is_current
    -- Lines of inpatient and SNF claims have a payment of their own in v3 only.
    AND (c.claim_type IN ('CARRIER', 'DME', 'OUTPATIENT', 'HOSPICE', 'HHA')
      OR (c.api_version = 'v3' AND c.claim_type IN ('INPATIENT', 'SNF')))
  GROUP BY c.claim_type, c.claim_id, c.paid_amount
)
GROUP BY claim_type;
