-- One row per ICD procedure of a claim that has a code.
-- Key: api_version, claim_id, sequence.
-- Source: ExplanationOfBenefit.procedure; CCLF3.
-- Trap: A procedure repeated on the claim appears once in v1 and v2.
CREATE TABLE claim_procedure (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  claim_id VARCHAR, -- Id of the ExplanationOfBenefit; joins to claim.claim_id
  sequence INTEGER, -- procedure.sequence
  procedure_code VARCHAR NOT NULL, -- ICD procedure code without dot
  icd_version VARCHAR, -- 9 or 10
  performed_date DATE, -- Day of the procedure
  is_principal BOOLEAN, -- v3: typed principal; v1, v2: the first
  procedure_type VARCHAR -- v2, v3: type as sent, such as principal
);
