-- Lines that point to a care team member or a diagnosis that the claim does not have.
-- Level: error
-- Threshold: 0
SELECT
  'care team' AS scope,
  count(*) AS rows_checked,
  count(*) FILTER (WHERE t.claim_id IS NULL) AS rows_failed
FROM claim_line_care_team AS p
LEFT JOIN claim_care_team AS t
  ON t.api_version = p.api_version
  AND t.claim_id = p.claim_id
  AND t.sequence = p.care_team_sequence
WHERE p.api_version = $api_version
UNION ALL
SELECT
  'diagnosis',
  count(*),
  count(*) FILTER (WHERE t.claim_id IS NULL)
FROM claim_line_diagnosis AS p
LEFT JOIN claim_diagnosis AS t
  ON t.api_version = p.api_version
  AND t.claim_id = p.claim_id
  AND t.sequence = p.diagnosis_sequence
WHERE p.api_version = $api_version;
