-- One row per answer to a partially adjudicated claim, its newest version.
-- Key: api_version, claim_id.
-- Source: FHIR ClaimResponse (v2); pairs with Claim by id.
CREATE TABLE partial.claim_response (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  claim_id VARCHAR, -- Id of the Claim; f- institutional (FISS), m- professional (MCS)
  outcome VARCHAR, -- queued or partial: where adjudication stands
  status VARCHAR, -- ClaimResponse.status
  mbi VARCHAR, -- MBI of the person
  first_name VARCHAR, -- Of the person: given name or its first letters, as the contractor has it
  middle_name VARCHAR, -- Of the person: usually an initial
  last_name VARCHAR, -- Of the person: family name or its first letters
  birth_date DATE, -- Of the person
  sex_code VARCHAR, -- 1 male, 2 female, 0 unknown
  sex_extension_code VARCHAR, -- Code of the US Core sex extension, as sent
  claim_type VARCHAR, -- institutional or professional
  system_type VARCHAR, -- FISS or MCS
  control_number VARCHAR, -- Document or internal control number
  current_status VARCHAR, -- Status in the contractor's system
  received_date DATE, -- The day the claim was received
  status_date DATE, -- The day of the current status
  group_code VARCHAR, -- Group code
  meta_last_updated TIMESTAMP, -- meta.lastUpdated in UTC of the first delivery of this content
  run_id VARCHAR, -- First export run that brought this content
  last_seen_run_id VARCHAR -- Latest export, by transactionTime, that brought it
);
