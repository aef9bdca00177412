-- Claims that end before they begin. Reports by month would be wrong; look at the claims and tell BCDA.
-- Level: error
-- Threshold: 0
SELECT
  claim_type AS scope,
  count(*) AS rows_checked,
  count(*) FILTER (WHERE service_from > service_thru) AS rows_failed
FROM claim
WHERE api_version = $api_version
GROUP BY claim_type;
