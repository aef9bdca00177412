-- One row per procedure of a partially adjudicated claim that has a code.
-- Key: api_version, claim_id, sequence.
-- Source: Claim.procedure.
CREATE TABLE partial.claim_procedure (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  claim_id VARCHAR, -- Id of the Claim; f- institutional (FISS), m- professional (MCS)
  sequence INTEGER, -- procedure.sequence
  procedure_code VARCHAR NOT NULL, -- ICD procedure code without dot
  icd_version VARCHAR, -- 9 or 10
  performed_date DATE -- Day of the procedure
);
