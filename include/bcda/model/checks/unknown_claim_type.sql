-- Claims of none of the eight types. Sums by type would leave them out; report the code that their eob-type has.
-- Level: error
-- Threshold: 0
SELECT
  '' AS scope,
  count(*) AS rows_checked,
  count(*) FILTER (
    WHERE claim_type NOT IN ('INPATIENT', 'OUTPATIENT', 'SNF', 'HOSPICE', 'HHA', 'CARRIER', 'DME', 'PDE')
  ) AS rows_failed
FROM claim
WHERE api_version = $api_version
  AND claim_use IS DISTINCT FROM 'preauthorization';
