-- One row per prescription drug event.
-- Key: api_version, claim_id.
-- Source: ExplanationOfBenefit of type PDE; CCLF7.
-- Trap: The money of a drug event is here; claim.paid_amount is NULL.
CREATE TABLE claim_drug (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  claim_id VARCHAR, -- Id of the ExplanationOfBenefit; joins to claim.claim_id
  fill_date DATE, -- Day of the fill
  ndc_code VARCHAR, -- National drug code
  quantity DECIMAL(24,4), -- Quantity dispensed
  days_supply INTEGER, -- Days of supply
  fill_number INTEGER, -- Number of the fill
  rx_reference_number VARCHAR, -- Prescription number
  daw_code VARCHAR, -- Dispense as written
  dispensing_status VARCHAR, -- P partial, C completion
  compound_code VARCHAR, -- Compound indicator as sent: RXDINV not a compound, RXCINV compound (v1, v2)
  brand_generic_code VARCHAR, -- B brand, G generic
  drug_coverage_code VARCHAR, -- Coverage of the drug
  catastrophic_code VARCHAR, -- Catastrophic coverage
  pharmacy_id VARCHAR, -- Number of the pharmacy
  pharmacy_id_qualifier VARCHAR, -- 01 NPI, 06 UPIN, 07 NCPDP, 08 state license, 11 tax number, 99 other
  pharmacy_type VARCHAR, -- Pharmacy service type
  prescriber_id VARCHAR, -- Number of the prescriber
  prescriber_id_qualifier VARCHAR, -- 01 NPI
  contract_id VARCHAR, -- Part D contract
  pbp_id VARCHAR, -- Plan benefit package
  gross_drug_cost DECIMAL(18,2), -- Total drug cost, USD
  patient_paid DECIMAL(18,2), -- Paid by the person, USD
  plan_paid DECIMAL(18,2), -- Paid by the plan for covered drugs, USD
  noncovered_plan_paid DECIMAL(18,2), -- Paid by the plan for drugs not covered, USD
  low_income_subsidy DECIMAL(18,2), -- Low-income cost sharing subsidy, USD
  other_troop DECIMAL(18,2), -- Other true out-of-pocket amount, USD
  other_payer_reduction DECIMAL(18,2), -- Reduction by other payers, USD
  gap_discount DECIMAL(18,2), -- Coverage gap discount, USD
  cost_below_threshold DECIMAL(18,2), -- Gross cost below the out-of-pocket threshold, USD
  cost_above_threshold DECIMAL(18,2) -- Gross cost above the out-of-pocket threshold, USD
);
