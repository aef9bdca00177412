-- One row per element of supporting information.
-- Key: api_version, claim_id, sequence.
-- Source: supportingInfo (v1: information).
CREATE TABLE claim_supporting_info (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  claim_id VARCHAR, -- Id of the ExplanationOfBenefit; joins to claim.claim_id
  sequence INTEGER, -- supportingInfo.sequence
  category_code VARCHAR, -- CMS variable or, without one, the FHIR category
  carin_code VARCHAR, -- Category in the words of FHIR or CARIN
  code_system VARCHAR, -- CMS variable or code system of the code
  code VARCHAR, -- Code, the first one sent
  further_codes VARCHAR[], -- Other codes of the same element; the digits of a type of bill in v3
  date_value DATE, -- timingDate
  period_start DATE, -- timingPeriod.start
  period_end DATE, -- timingPeriod.end
  quantity DECIMAL(24,4), -- valueQuantity
  quantity_unit VARCHAR, -- Unit of the quantity
  text_value VARCHAR -- valueString, or the reference of an observation; its code and value then stand in code and quantity
);
