-- Claims of none of the eight types. Sums by type would leave them out; report the code that their eob-type has.
-- Level: warning
-- Threshold: 0
-- Suspect: the claim type is none of the eight
SELECT claim_id
FROM claim
WHERE api_version = $api_version
  AND claim_type NOT IN ('INPATIENT', 'OUTPATIENT', 'SNF', 'HOSPICE', 'HHA', 'CARRIER', 'DME', 'PDE')
  AND claim_use IS DISTINCT FROM 'preauthorization';
