-- Current institutional claims whose line charges do not add up to the charge of the claim.
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
    c.charge_amount AS header,
    CASE
      WHEN bool_and(l.is_total_line) THEN sum(l.submitted_amount)
      ELSE sum(l.submitted_amount) FILTER (WHERE NOT l.is_total_line)
    END AS lines
  FROM claim AS c
  JOIN claim_line AS l
    ON l.api_version = c.api_version
    AND l.claim_id = c.claim_id
  WHERE c.api_version = $api_version
    AND c.is_current
    AND c.claim_type IN ('INPATIENT', 'OUTPATIENT', 'SNF', 'HOSPICE', 'HHA')
  GROUP BY c.claim_type, c.claim_id, c.charge_amount
)
WHERE header IS NOT NULL
  AND lines IS NOT NULL
GROUP BY claim_type;
