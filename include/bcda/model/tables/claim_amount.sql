-- One row per amount or count of a claim as a whole.
-- Key: api_version, claim_id, amount_number.
-- Source: total, benefitBalance, adjudication, root extensions with money, payment (v1 also totalCost).
-- Trap: On carrier and DME claims of v2 the total clm_tot_chrg_amt is the primary payer's payment.
CREATE TABLE claim_amount (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  claim_id VARCHAR, -- Id of the ExplanationOfBenefit; joins to claim.claim_id
  amount_number INTEGER, -- Position among the claim's amounts, from 1
  source_element VARCHAR, -- total, benefitBalance, adjudication, extension or payment
  category_code VARCHAR, -- CMS variable such as clm_tot_chrg_amt or CLM_BLOOD_LBLTY_AMT
  carin_code VARCHAR, -- Category in the words of FHIR or CARIN, such as submitted
  amount DECIMAL(18,2), -- Amount in the currency
  currency VARCHAR, -- Currency as sent; USD
  quantity DECIMAL(18,4), -- Count, for categories that are not money
  balance_category VARCHAR, -- benefitBalance: category of the balance
  reason_code VARCHAR -- Reason, first code
);
