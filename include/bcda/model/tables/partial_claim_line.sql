-- One row per line of a partially adjudicated claim.
-- Key: api_version, claim_id, line_number.
-- Source: Claim.item.
CREATE TABLE partial.claim_line (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  claim_id VARCHAR, -- Id of the Claim; f- institutional (FISS), m- professional (MCS)
  line_number INTEGER, -- item.sequence
  revenue_code VARCHAR, -- Revenue center
  hcpcs_code VARCHAR, -- HCPCS or CPT code
  modifier_1 VARCHAR, -- First modifier
  modifier_2 VARCHAR, -- Second modifier
  modifier_3 VARCHAR, -- Third modifier
  modifier_4 VARCHAR, -- Fourth modifier
  ndc_code VARCHAR, -- National drug code
  service_from DATE, -- First day of service
  service_thru DATE, -- Last day of service
  service_units DECIMAL(24,4), -- Service units
  billed_units DECIMAL(24,4), -- item.quantity
  ndc_quantity DECIMAL(24,4), -- Quantity of the drug
  ndc_unit VARCHAR, -- Unit of that quantity
  apc_code VARCHAR, -- Ambulatory payment class
  line_dx VARCHAR -- Diagnosis the line points to first
);
