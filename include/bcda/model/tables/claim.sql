-- One row per ExplanationOfBenefit, its newest version, canceled ones included.
-- Key: api_version, claim_id.
-- Source: FHIR ExplanationOfBenefit; CCLF1, 5, 6, 7, A, B.
-- Trap: Sum over claim_current, not over this table: a canceled claim keeps its amounts.
CREATE TABLE claim (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  claim_id VARCHAR, -- Id of the ExplanationOfBenefit
  claim_number VARCHAR, -- CMS's claim number; text, may be negative in synthetic data
  claim_group VARCHAR, -- v1, v2: joins the versions of an adjusted claim; never collapse by it
  control_number VARCHAR, -- Claim control number of the contractor
  prior_control_number VARCHAR, -- Control number of the claim this one adjusts (v1, v3)
  patient_id VARCHAR NOT NULL, -- Person treated; empty text when none was named
  claim_type VARCHAR NOT NULL, -- INPATIENT, OUTPATIENT, SNF, HOSPICE, HHA, CARRIER, DME or PDE, the eob-type coding as sent; UNKNOWN without one
  nch_claim_type VARCHAR, -- NCH claim type code such as 40 or 71 (v3 also shared-system codes; Part D 1 to 4)
  source_system VARCHAR, -- NCH (finished claims), SHARED (not finished yet, v3), DDPS (drug events); NULL on v3 when CMS names none of them
  eob_status VARCHAR, -- active or cancelled
  outcome VARCHAR, -- ExplanationOfBenefit.outcome
  final_action VARCHAR, -- v3: FINAL, NOT_FINAL, else UNKNOWN
  adjustment_code VARCHAR, -- PDE of v1, v2: A adjusted, D deleted, R resubmitted; v3: CLM_ADJSTMT_TYPE_CD
  is_current BOOLEAN NOT NULL, -- Counts now; see superseded_reason
  superseded_reason VARCHAR, -- Why it does not count: cancelled, void, not final, unfinished, deleted drug event, replaced by newer, duplicate of final claim, expired, not in full pull, prior authorization
  service_from DATE, -- billablePeriod.start; an old PDE without one: its fill date
  service_thru DATE, -- billablePeriod.end
  admission_date DATE, -- Admission of an inpatient, SNF, hospice or home health stay
  discharge_date DATE, -- Discharge
  processed_date DATE, -- NCH weekly processing date (v3: created); the day CMS finished the claim
  received_date DATE, -- v3: the day the claim was received
  idr_load_date DATE, -- v3: load into CMS's repository
  paid_amount DECIMAL(18,2), -- Medicare payment, USD; NULL for PDE, whose money is in claim_drug
  payment_date DATE, -- payment.date
  charge_amount DECIMAL(18,2), -- Total charge submitted, USD
  allowed_amount DECIMAL(18,2), -- Allowed charge, USD (carrier, DME)
  primary_payer_paid_amount DECIMAL(18,2), -- Paid by a payer before Medicare, USD
  deductible_amount DECIMAL(18,2), -- Deductible owed by the person, USD
  coinsurance_amount DECIMAL(18,2), -- Coinsurance owed by the person, USD
  blood_deductible_amount DECIMAL(18,2), -- Blood deductible, USD
  principal_dx VARCHAR, -- Principal diagnosis, ICD code without dot; the admitting one when none is principal
  admitting_dx VARCHAR, -- Admitting diagnosis
  icd_version VARCHAR, -- 9 or 10, of the first diagnosis
  drg_code VARCHAR, -- Diagnosis related group, three digits
  facility_type VARCHAR, -- First digit of the type of bill
  bill_class VARCHAR, -- Second digit of the type of bill
  bill_frequency VARCHAR, -- Third digit of the type of bill
  discharge_status VARCHAR, -- Patient discharge status, two digits
  admission_type VARCHAR, -- Type of admission
  admission_source VARCHAR, -- Source of admission
  nonpayment_reason VARCHAR, -- Set when Medicare paid nothing: the whole claim is denied
  payment_denial_code VARCHAR, -- Carrier payment denial code (carrier, DME)
  primary_payer_code VARCHAR, -- Which payer comes before Medicare
  query_code VARCHAR, -- Claim query code; 3 is the final bill
  disposition_code VARCHAR, -- Disposition, two digits
  assignment_code VARCHAR, -- v1, v2: whether the provider takes Medicare's amount as full payment, asgmntcd (carrier, DME)
  entry_code VARCHAR, -- v1, v2: claim entry code, carr_clm_entry_cd (carrier, DME)
  action_code VARCHAR, -- v1, v2: what the contractor did with the claim, fi_clm_actn_cd (institutional)
  contractor_processed_date DATE, -- v1, v2: the day the contractor processed the claim, fi_clm_proc_dt (institutional)
  clinical_trial_number VARCHAR, -- v1, v2: clm_clncl_tril_num
  hospice_period_count INTEGER, -- v1, v2: which hospice period of the person it is, bene_hospc_prd_cnt
  provider_ccn VARCHAR, -- CMS certification number of the facility
  provider_npi VARCHAR, -- NPI of the facility or supplier; carrier claims of v2 and v3: of who billed
  provider_state_raw VARCHAR, -- State of the provider as sent: SSA code in v1 and v2, FIPS in v3
  attending_npi VARCHAR, -- Attending physician
  operating_npi VARCHAR, -- Operating physician
  other_npi VARCHAR, -- Other physician
  referring_npi VARCHAR, -- Referring or ordering physician
  contractor_number VARCHAR, -- Medicare administrative contractor
  coverage_id VARCHAR, -- Coverage named by the claim
  coverage_part VARCHAR, -- v3: part of Medicare as the claim says it, such as Part A
  authorization_start DATE, -- v3: first day of a prior authorization, preAuthRefPeriod
  authorization_end DATE, -- v3: last day of a prior authorization
  meta_source VARCHAR, -- v3: meta.source, the system that the claim came from: NCH, DDPS, FISS, MCS, VMS, CWF
  fhir_claim_type VARCHAR, -- FHIR claim-type word; misleading for DME and HHA in v2, decides nothing
  record_type_code VARCHAR, -- NCH near-line record identification code
  subtype_code VARCHAR, -- ExplanationOfBenefit.subType, first code
  claim_use VARCHAR, -- claim or preauthorization
  insurer VARCHAR, -- insurer as sent
  profile VARCHAR, -- meta.profile, first; names its FHIR profile and decides nothing
  meta_last_updated TIMESTAMP, -- meta.lastUpdated in UTC of the first delivery of this content
  run_id VARCHAR, -- First export run that brought this content
  last_seen_run_id VARCHAR, -- Latest export, by transactionTime, that brought the claim
  content_hash VARCHAR -- SHA-256 of the content without delivery times
);
