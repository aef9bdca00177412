-- One row per care team member of a claim.
-- Key: api_version, claim_id, sequence.
-- Source: ExplanationOfBenefit.careTeam.
-- Trap: A number typed npi may be a UPIN: check its form before you join.
CREATE TABLE claim_care_team (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  claim_id VARCHAR, -- Id of the ExplanationOfBenefit; joins to claim.claim_id
  sequence INTEGER, -- careTeam.sequence
  role_code VARCHAR, -- attending, operating, otheroperating, performing, rendering, referring, prescribing, supervisor (v1: primary, assist, other, referring)
  provider_id VARCHAR, -- Number of the provider
  provider_id_type VARCHAR, -- Type of that number, such as npi
  provider_id_qualifier VARCHAR, -- v3: PRVDR-ID-QLFYR-CD of the number
  provider_resource_type VARCHAR, -- v3: Practitioner or Organization
  provider_name VARCHAR, -- Name as sent
  specialty_code VARCHAR, -- CMS specialty
  taxonomy_code VARCHAR, -- NUCC taxonomy
  provider_type_code VARCHAR, -- Provider type
  participating_code VARCHAR, -- Medicare participation indicator
  is_responsible BOOLEAN -- careTeam.responsible
);
