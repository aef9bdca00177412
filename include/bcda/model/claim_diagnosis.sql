-- One row per diagnosis of a claim that has a code.
-- Key: api_version, claim_id, sequence (proved by a check; an index would make each load pay for the whole table).
-- Source: ExplanationOfBenefit.diagnosis; CCLF4.
-- Trap: The principal and the admitting diagnosis may be the same code twice.
CREATE TABLE claim_diagnosis (
  api_version VARCHAR,
  claim_id VARCHAR,
  sequence INTEGER,
  dx_code VARCHAR NOT NULL,
  icd_version VARCHAR,
  dx_type VARCHAR,
  is_principal BOOLEAN,
  is_admitting BOOLEAN,
  is_external BOOLEAN,
  poa_code VARCHAR,
  source_position INTEGER
);
