-- One row per pointer of a line to a diagnosis.
-- Key: api_version, claim_id, line_number, diagnosis_sequence.
-- Source: item.diagnosisSequence (v1: diagnosisLinkId).
CREATE TABLE claim_line_diagnosis (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  claim_id VARCHAR, -- Id of the ExplanationOfBenefit; joins to claim.claim_id
  line_number INTEGER, -- Line that points
  diagnosis_sequence INTEGER -- Diagnosis it points to; joins to claim_diagnosis.sequence
);
