-- One row per pointer of a line to supporting information.
-- Key: api_version, claim_id, line_number, supporting_info_sequence.
-- Source: item.informationSequence.
CREATE TABLE claim_line_supporting_info (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  claim_id VARCHAR, -- Id of the ExplanationOfBenefit; joins to claim.claim_id
  line_number INTEGER, -- Line that points
  supporting_info_sequence INTEGER -- Fact it points to; joins to claim_supporting_info.sequence
);
