-- How many claims of each type a check lists as suspect. Parameters: api_version, check_id.
-- Trap: A type that CMS has not published is data and not for messages.
SELECT
  CASE
    WHEN c.claim_type IN ('INPATIENT', 'OUTPATIENT', 'SNF', 'HOSPICE', 'HHA', 'CARRIER', 'DME', 'PDE', 'UNKNOWN') THEN c.claim_type
    ELSE 'other type'
  END AS scope,
  count(*) AS rows_checked,
  count(s.claim_id) AS rows_failed
FROM claim AS c
LEFT JOIN ops.suspect_claim AS s
  ON s.api_version = c.api_version
  AND s.claim_id = c.claim_id
  AND s.check_id = $check_id
WHERE c.api_version = $api_version
GROUP BY scope;
