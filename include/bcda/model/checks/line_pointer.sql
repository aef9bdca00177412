-- Claims with a line that points to a care team member, a diagnosis or supporting information that the claim does not have.
-- Level: warning
-- Threshold: 0
-- Suspect: a line points to what the claim does not have
SELECT claim_id
FROM (
  SELECT p.claim_id
  FROM claim_line_care_team AS p
  ANTI JOIN claim_care_team AS t
    ON t.api_version = p.api_version
    AND t.claim_id = p.claim_id
    AND t.sequence = p.care_team_sequence
  WHERE p.api_version = $api_version
  UNION
  SELECT p.claim_id
  FROM claim_line_diagnosis AS p
  ANTI JOIN claim_diagnosis AS t
    ON t.api_version = p.api_version
    AND t.claim_id = p.claim_id
    AND t.sequence = p.diagnosis_sequence
  WHERE p.api_version = $api_version
  UNION
  SELECT p.claim_id
  FROM claim_line_supporting_info AS p
  ANTI JOIN claim_supporting_info AS t
    ON t.api_version = p.api_version
    AND t.claim_id = p.claim_id
    AND t.sequence = p.supporting_info_sequence
  WHERE p.api_version = $api_version
);
