-- One row per pointer of a line to a care team member.
-- Key: api_version, claim_id, line_number, care_team_sequence.
-- Source: item.careTeamSequence (v1: careTeamLinkId).
CREATE TABLE claim_line_care_team (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  claim_id VARCHAR, -- Id of the ExplanationOfBenefit; joins to claim.claim_id
  line_number INTEGER, -- Line that points
  care_team_sequence INTEGER -- Member it points to; joins to claim_care_team.sequence
);
