-- One row per identifier of a claim or of an organization or person in it.
-- Key: api_version, claim_id, identifier_number.
-- Source: identifier, contained, facility, provider, organization, referral.
CREATE TABLE claim_identifier (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  claim_id VARCHAR, -- Id of the ExplanationOfBenefit; joins to claim.claim_id
  identifier_number INTEGER, -- Position among the identifiers of the claim, from 1
  owner_type VARCHAR, -- ExplanationOfBenefit, the type of the contained resource, or the element: facility, provider, organization, referral
  owner_id VARCHAR, -- Id of the contained resource; provider.reference points to it
  owner_name VARCHAR, -- Name of the owner as sent
  id_system VARCHAR, -- CMS variable or system of the number
  id_value VARCHAR, -- The number
  id_type VARCHAR -- Type of the number, such as npi, PRN or uc
);
