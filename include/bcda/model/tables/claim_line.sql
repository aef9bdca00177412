-- One row per line of a claim.
-- Key: api_version, claim_id, line_number.
-- Source: ExplanationOfBenefit.item; CCLF2, 5, 6, B.
-- Trap: A line with is_total_line repeats the sum of the others.
CREATE TABLE claim_line (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  claim_id VARCHAR, -- Id of the ExplanationOfBenefit; joins to claim.claim_id
  line_number INTEGER, -- item.sequence; may start above 1
  revenue_code VARCHAR, -- Revenue center, four digits
  is_total_line BOOLEAN, -- Revenue center 0001: the sum of the other lines; leave it out of sums
  hcpcs_code VARCHAR, -- HCPCS or CPT code; many revenue lines have none
  hipps_code VARCHAR, -- v3: HIPPS code
  modifier_1 VARCHAR, -- First HCPCS modifier
  modifier_2 VARCHAR, -- Second HCPCS modifier
  modifier_3 VARCHAR, -- Third HCPCS modifier
  modifier_4 VARCHAR, -- Fourth HCPCS modifier
  modifier_5 VARCHAR, -- Fifth HCPCS modifier
  ndc_code VARCHAR, -- National drug code
  service_from DATE, -- First day of service; the claim's when the line has none
  service_thru DATE, -- Last day of service; the claim's when the line has none
  date_is_inherited BOOLEAN, -- The line has no date of its own
  service_units DECIMAL(24,4), -- Service units
  ndc_quantity DECIMAL(24,4), -- Quantity of the drug
  ndc_unit VARCHAR, -- Unit of ndc_quantity as sent
  place_of_service VARCHAR, -- Place of service code
  type_of_service VARCHAR, -- CMS type of service
  betos_code VARCHAR, -- BETOS category (v1, v2)
  rendering_npi VARCHAR, -- NPI of who rendered the service
  rendering_specialty VARCHAR, -- CMS specialty of that provider
  rendering_type VARCHAR, -- Provider type code
  rendering_tax_number VARCHAR, -- Tax number of that provider
  rendering_state_raw VARCHAR, -- State as sent: SSA code in v1 and v2, FIPS in v3
  line_dx VARCHAR, -- Diagnosis the line points to first
  paid_amount DECIMAL(18,2), -- Medicare payment of the line, USD (v1, v2: LINE_NCH_PMT_AMT; outpatient, hospice: REV_CNTR_PRVDR_PMT_AMT; HHA: REV_CNTR_PMT_AMT_AMT); NULL on inpatient and SNF lines of v1 and v2
  allowed_amount DECIMAL(18,2), -- Allowed charge, USD
  submitted_amount DECIMAL(18,2), -- Submitted charge, USD
  noncovered_amount DECIMAL(18,2), -- Charge not covered, USD
  deductible_amount DECIMAL(18,2), -- Deductible, USD
  coinsurance_amount DECIMAL(18,2), -- Coinsurance, USD
  primary_payer_paid_amount DECIMAL(18,2), -- Paid by a payer before Medicare, USD
  beneficiary_paid_amount DECIMAL(18,2), -- Paid to the person, USD
  processing_code VARCHAR, -- Line processing indicator; A, R, S are allowed
  primary_payer_code VARCHAR, -- Which payer comes before Medicare
  hpsa_code VARCHAR, -- v3: health professional shortage area indicator
  mtus_count DECIMAL(24,4), -- Miles, time, units or services of the line, counted as mtus_code says (carrier, DME)
  mtus_code VARCHAR, -- What mtus_count counts
  payment_80_100_code VARCHAR, -- Whether Medicare pays 80 or 100 percent of the allowed charge (carrier, DME)
  service_deductible_code VARCHAR, -- Whether the deductible applies to the service (carrier, DME)
  pricing_locality_code VARCHAR, -- Locality that the contractor prices by (carrier)
  provider_zip VARCHAR, -- v1, v2: postal code of who rendered the service (carrier)
  clia_lab_number VARCHAR, -- v1, v2: CLIA number of the laboratory (carrier)
  supplier_number VARCHAR, -- v1, v2: number of the supplier (DME)
  supplier_type_code VARCHAR, -- v1, v2: type of the supplier (DME)
  pricing_state_raw VARCHAR, -- v1, v2: SSA code of the state whose prices apply (DME)
  hcpcs_year_code VARCHAR, -- v1, v2: year of the HCPCS codes, its last digit (carrier, DME)
  physician_assistant_code VARCHAR, -- v3: whether a physician assistant took part, CLM-PHYSN-ASTNT-CD
  rendering_participating_code VARCHAR, -- v3: whether who rendered the service takes part in Medicare, CLM-RNDRG-PRVDR-PRTCPTG-CD
  anesthesia_units DECIMAL(24,4), -- v3: anesthesia units
  revenue_status_code VARCHAR, -- Payment status of a revenue line under the outpatient prospective payment system
  deductible_coinsurance_code VARCHAR, -- Whether deductible and coinsurance apply to a revenue line
  payment_method_code VARCHAR, -- v3: how a revenue line is paid, CLM-REV-PMT-MTHD-CD
  discount_code VARCHAR, -- v3: discount of a revenue line, CLM-REV-DSCNT-IND-CD
  packaging_code VARCHAR, -- v3: whether a revenue line is paid with another, CLM-REV-PACKG-IND-CD
  otaf_code VARCHAR, -- v3: whether the provider has to take the payment in full, CLM-OTAF-ONE-IND-CD
  authorization_decision_code VARCHAR, -- v3 prior authorization: decision, PA-DECISION
  authorization_decision_date DATE, -- v3 prior authorization: day of the decision
  authorization_expiration_date DATE, -- v3 prior authorization: day on which the decision expires
  authorization_submitted_date DATE, -- v3 prior authorization: day the request was submitted
  authorization_received_date DATE, -- v3 prior authorization: day the request was received
  authorization_added_date DATE, -- v3 prior authorization: day CMS recorded it
  authorization_updated_date DATE, -- v3 prior authorization: day CMS changed it last
  authorization_service_count DECIMAL(24,4), -- v3 prior authorization: number of services
  authorization_state VARCHAR, -- v3 prior authorization: state where the service is rendered, postal letters
  medical_review_count DECIMAL(24,4), -- v3 prior authorization: medical review count, MR-COUNT-IND
  medical_review_from DATE, -- v3 prior authorization: first day of that count
  medical_review_thru DATE -- v3 prior authorization: last day of that count
);
