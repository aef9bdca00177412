-- One row per reason in the answer to a partially adjudicated claim.
-- Key: api_version, claim_id, line_number, reason_number.
-- Source: ClaimResponse.item.adjudication.
CREATE TABLE partial.claim_response_reason (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  claim_id VARCHAR, -- Id of the Claim; f- institutional (FISS), m- professional (MCS)
  line_number INTEGER, -- item.itemSequence, else the position
  reason_number INTEGER, -- Position among the line's adjudications, from 1
  category_code VARCHAR, -- Such as denialreason
  reason_system VARCHAR, -- Which list the code is from
  reason_code VARCHAR -- Reason code
);
