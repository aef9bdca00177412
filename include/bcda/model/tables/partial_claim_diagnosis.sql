-- One row per diagnosis of a partially adjudicated claim that has a code.
-- Key: api_version, claim_id, sequence.
-- Source: Claim.diagnosis.
CREATE TABLE partial.claim_diagnosis (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  claim_id VARCHAR, -- Id of the Claim; f- institutional (FISS), m- professional (MCS)
  sequence INTEGER, -- diagnosis.sequence
  dx_code VARCHAR NOT NULL, -- ICD code without dot, in upper case
  icd_version VARCHAR, -- 9 or 10
  dx_type VARCHAR, -- principal, admitting or NULL
  poa_code VARCHAR -- Present on admission
);
