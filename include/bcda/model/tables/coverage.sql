-- One row per Coverage resource: one part of Medicare of one person.
-- Key: api_version, coverage_id.
-- Source: FHIR Coverage; CCLF8.
-- Trap: The patient's part of the id may begin with a hyphen.
CREATE TABLE coverage (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  coverage_id VARCHAR, -- Id of the Coverage resource
  patient_id VARCHAR, -- Person covered
  part VARCHAR, -- A, B, C, D or DUAL (v3: Medicaid beside Medicare)
  status VARCHAR, -- Coverage.status
  type_code VARCHAR, -- Coverage.type, first code
  period_start DATE, -- period.start: begin of the enrolment
  period_end DATE, -- period.end
  contract_id VARCHAR, -- Contract of the Part C or D plan
  pbp_id VARCHAR, -- Plan benefit package of that contract
  plan_segment_id VARCHAR, -- v3: segment of the plan
  plan_type_code VARCHAR, -- v3: BENE-CVRG-TYPE-CD
  medicare_status_code VARCHAR, -- Aged, disabled, ESRD: 10, 11, 20, 21, 31 (CCLF8 BENE_MDCR_STUS_CD)
  original_entitlement_code VARCHAR, -- Original reason of entitlement (v3: the reason sent, whether it is the original one is not stated)
  current_entitlement_code VARCHAR, -- Current reason of entitlement
  esrd_code VARCHAR, -- End-stage renal disease indicator
  disabled_code VARCHAR, -- v3: BENE-DSBLD-STUS-ID
  termination_code VARCHAR, -- v1, v2: reason the entitlement ended; 0 is not ended
  entitlement_status_code VARCHAR, -- v3: BENE-MDCR-ENTLMT-STUS-CD; entitled: Y with a premium, E free Part A, G good cause; ended: C, F, S, T, W, X
  dual_status_code VARCHAR, -- Dual status, latest month that has one
  buy_in_code VARCHAR, -- State buy-in, latest month that has one
  cost_share_code VARCHAR, -- v3: BENE-LIS-COPMT-LVL-CD, low-income copayment level; v1 and v2 have it by month
  reference_year INTEGER, -- v1, v2: year of the monthly values of this newest statement; months of earlier years are in coverage_month
  subscriber_id VARCHAR, -- subscriberId: the MBI of the time
  payor_name VARCHAR, -- Who pays, as sent
  is_stub BOOLEAN, -- An id without anything else: not enrolled
  disposed_months DATE[], -- v3: first days of months of the period that were disposed of; NULL for none
  meta_last_updated TIMESTAMP, -- meta.lastUpdated in UTC of the first delivery of this content
  run_id VARCHAR -- First export run that brought this content
);
