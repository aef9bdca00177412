-- One row per partially adjudicated claim, its newest version.
-- Key: api_version, claim_id.
-- Source: FHIR Claim (v2).
-- Trap: Not final: payment may change or never come. Ask partial.claim_current.
CREATE TABLE partial.claim (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  claim_id VARCHAR, -- Id of the Claim; f- institutional (FISS), m- professional (MCS)
  control_number VARCHAR, -- Document or internal control number of the contractor
  mbi VARCHAR, -- MBI of the person; such claims name no Patient
  first_name VARCHAR, -- Of the person: given name or its first letters, as the contractor has it
  middle_name VARCHAR, -- Of the person: usually an initial
  last_name VARCHAR, -- Of the person: family name or its first letters
  birth_date DATE, -- Of the person
  sex_code VARCHAR, -- 1 male, 2 female, 0 unknown
  sex_extension_code VARCHAR, -- Code of the US Core sex extension, as sent
  status VARCHAR, -- Claim.status
  claim_type VARCHAR, -- institutional or professional
  system_type VARCHAR, -- FISS or MCS
  source_claim_type VARCHAR, -- Claim type in the contractor's system
  service_from DATE, -- billablePeriod.start
  service_thru DATE, -- billablePeriod.end
  charge_amount DECIMAL(18,2), -- Total charge, USD
  type_of_bill_frequency VARCHAR, -- Frequency digit of the type of bill
  facility_type VARCHAR, -- Line of business: first digit of the type of bill
  bill_class VARCHAR, -- Service type: second digit of the type of bill
  drg_code VARCHAR, -- Diagnosis related group
  admission_type VARCHAR, -- Type of admission
  provider_ccn VARCHAR, -- Provider number
  provider_npi VARCHAR, -- NPI of the provider
  provider_tax_number VARCHAR, -- Tax number of the provider
  provider_type_code VARCHAR, -- Type of the billing provider
  provider_specialty_code VARCHAR, -- Specialty of the billing provider
  priority_code VARCHAR, -- Claim.priority
  payer_names VARCHAR[], -- insurance.coverage.identifier of each payer in order, such as MEDICARE
  meta_last_updated TIMESTAMP, -- meta.lastUpdated in UTC of the first delivery of this content
  run_id VARCHAR, -- First export run that brought this content
  last_seen_run_id VARCHAR -- Latest export, by transactionTime, that brought it
);
