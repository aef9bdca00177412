-- One row per adjudication of a line.
-- Key: api_version, claim_id, line_number, amount_number.
-- Source: item.adjudication.
-- Trap: DME lines carry line_bene_pmt_amt twice; the second is a price.
CREATE TABLE claim_line_amount (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  claim_id VARCHAR, -- Id of the ExplanationOfBenefit; joins to claim.claim_id
  line_number INTEGER, -- Line it belongs to
  amount_number INTEGER, -- Position among the line's adjudications, from 1
  category_code VARCHAR, -- CMS variable such as line_nch_pmt_amt or CLM_LINE_CVRD_PD_AMT
  carin_code VARCHAR, -- Category in the words of FHIR or CARIN, such as benefit
  amount DECIMAL(18,2), -- Amount in the currency
  currency VARCHAR, -- Currency as sent; USD
  reason_system VARCHAR, -- CMS variable or code system of the reason
  reason_code VARCHAR, -- Reason, CMS's code (v3: ANSI reason)
  reason_group_code VARCHAR -- v3: ANSI group code
);
