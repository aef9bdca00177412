-- Claims with a last day before the first: of service, of the stay, or of a line. Reports by month would be wrong; look at the claims and tell BCDA.
-- Level: warning
-- Threshold: 0
-- Suspect: a last day is before the first
SELECT claim_id
FROM claim
WHERE api_version = $api_version
  AND (service_from > service_thru OR admission_date > discharge_date)
UNION
SELECT claim_id
FROM claim_line
WHERE api_version = $api_version
  AND service_from > service_thru;
