-- One row per extension of a claim or its lines that is not money.
-- Key: api_version, claim_id, line_number, extension_number.
-- Source: extension anywhere below ExplanationOfBenefit.
-- Trap: Many names have a column of their own in claim and claim_line as well.
CREATE TABLE claim_extension (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  claim_id VARCHAR, -- Id of the ExplanationOfBenefit; joins to claim.claim_id
  line_number INTEGER, -- Line it belongs to; NULL for the claim as a whole
  element VARCHAR, -- Where it hangs: extension, facility, billablePeriod, coverage, careTeam, hospitalization, item, item.location, item.revenue, item.product, item.quantity, item.adjudication
  name VARCHAR, -- CMS variable or the URL of the extension
  extension_number INTEGER, -- Position among the extensions of the claim or line, from 1
  value VARCHAR, -- Value as text
  unit VARCHAR -- Unit of a quantity; of a care team member's extension the member's sequence
);
