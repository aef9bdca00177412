-- One row per diagnosis of a claim that has a code.
-- Key: api_version, claim_id, sequence.
-- Source: ExplanationOfBenefit.diagnosis; CCLF4.
-- Trap: The principal and the admitting diagnosis may be the same code twice.
CREATE TABLE claim_diagnosis (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  claim_id VARCHAR, -- Id of the ExplanationOfBenefit; joins to claim.claim_id
  sequence INTEGER, -- diagnosis.sequence
  dx_code VARCHAR NOT NULL, -- ICD code without dot, in upper case
  icd_version VARCHAR, -- 9 or 10; NULL when the code system says neither
  dx_type VARCHAR, -- First type code: principal, admitting, other, secondary, externalcauseofinjury, patientreasonforvisit (v1: external-first, external, reason-for-visit)
  is_principal BOOLEAN, -- Typed principal
  is_admitting BOOLEAN, -- Typed admitting; on SNF of v2 also the untyped first one before the principal
  is_external BOOLEAN, -- External cause of injury
  poa_code VARCHAR, -- Present on admission
  source_position INTEGER -- True position among the claim's diagnoses, from the name of the present-on-admission extension
);
