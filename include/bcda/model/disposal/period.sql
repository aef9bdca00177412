-- What a period takes away: claims by their last day of service, months of coverage, lists by their date, and people of whom
-- nothing else is left. Reads gone_months. Of a drug event the day of service is the day of the fill.
INSERT INTO gone
SELECT c.api_version, 'ExplanationOfBenefit', c.claim_id
FROM claim AS c
JOIN gone_months AS m
  ON coalesce(c.service_thru, c.service_from) BETWEEN m.first_day AND m.last_day;

INSERT INTO gone
SELECT c.api_version, 'Claim', c.claim_id
FROM partial.claim AS c
JOIN gone_months AS m
  ON coalesce(c.service_thru, c.service_from) BETWEEN m.first_day AND m.last_day;

-- A response has no day of service: it goes with its claim, and one without a claim by the day of its receipt.
INSERT INTO gone
SELECT r.api_version, 'ClaimResponse', r.claim_id
FROM partial.claim_response AS r
LEFT JOIN partial.claim AS c
  ON c.api_version = r.api_version
  AND c.claim_id = r.claim_id
JOIN gone_months AS m
  ON coalesce(c.service_thru, c.service_from, CASE WHEN c.claim_id IS NULL THEN r.received_date END)
    BETWEEN m.first_day AND m.last_day;

INSERT INTO gone
SELECT c.api_version, 'Coverage', c.coverage_id
FROM coverage AS c
JOIN gone_months AS m
  ON CASE
    WHEN c.reference_year IS NOT NULL
      THEN make_date(c.reference_year, 1, 1) >= m.first_day AND make_date(c.reference_year, 12, 31) <= m.last_day
    ELSE coalesce(c.period_start, c.period_end) >= m.first_day AND c.period_end <= m.last_day
  END
-- One with months of other years stays for them.
WHERE NOT EXISTS (
  SELECT 1
  FROM coverage_month AS k
  JOIN gone_months AS n
    ON k.month_start < n.first_day
    OR last_day(k.month_start) > n.last_day
  WHERE k.api_version = c.api_version
    AND k.coverage_id = c.coverage_id
);

INSERT INTO trimmed
SELECT c.api_version, c.coverage_id, list(c.month_start ORDER BY c.month_start)
FROM coverage_month AS c
JOIN gone_months AS m
  ON c.month_start >= m.first_day
  AND last_day(c.month_start) <= m.last_day
GROUP BY ALL;

INSERT INTO gone_list
SELECT r.run_id
FROM ops.export_run AS r
JOIN gone_months AS m
  ON CAST(coalesce(r.list_at, r.transaction_time) AS DATE) BETWEEN m.first_day AND m.last_day
WHERE r.run_id IN (SELECT run_id FROM roster);

INSERT INTO wanted
SELECT p.api_version, p.patient_id
FROM patient AS p
WHERE p.patient_id IN (SELECT patient_id FROM roster AS o WHERE o.api_version = p.api_version)
  AND NOT EXISTS (
    SELECT 1
    FROM roster AS o
    WHERE o.api_version = p.api_version
      AND o.patient_id = p.patient_id
      AND o.run_id NOT IN (SELECT run_id FROM gone_list)
  )
  AND NOT EXISTS (
    SELECT 1
    FROM claim AS c
    ANTI JOIN gone AS g
      ON g.api_version = c.api_version
      AND g.resource_type = 'ExplanationOfBenefit'
      AND g.resource_id = c.claim_id
    WHERE c.api_version = p.api_version
      AND c.patient_id = p.patient_id
  )
  AND NOT EXISTS (
    SELECT 1
    FROM coverage_month AS c
    JOIN gone_months AS m
      ON c.month_start < m.first_day
      OR last_day(c.month_start) > m.last_day
    WHERE c.api_version = p.api_version
      AND c.patient_id = p.patient_id
  );
