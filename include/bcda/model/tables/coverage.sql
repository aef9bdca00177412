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
  period_start DATE, -- period.start: begin of the enrollment
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
  enrollment_reason_code VARCHAR, -- v3: reason of the enrollment, BENE-ENRLMT-RSN-CD
  employer_subsidy_code VARCHAR, -- v3: whether the employer takes the retiree drug subsidy, BENE-ENRLMT-EMPLR-SBSDY-SW
  lis_effective_code VARCHAR, -- v3 Part D: whether the low-income subsidy is in effect, BENE-LIS-EFCTV-CD
  lis_premium_percent DECIMAL(24,4), -- v3 Part D: percent of the premium that the low-income subsidy pays, BENE-LIS-PTD-PRM-PCT
  dual_status_code VARCHAR, -- Dual status, latest month that has one
  dual_type_code VARCHAR, -- v3: type of the dual status: full, partial or another, BENE-DUAL-TYPE-CD
  medicaid_state_code VARCHAR, -- v3: state whose Medicaid it is, postal letters, MEDICAID-STATE-CD
  buy_in_code VARCHAR, -- State buy-in, latest month that has one
  cost_share_code VARCHAR, -- v3: BENE-LIS-COPMT-LVL-CD, low-income copayment level; v1 and v2 have it by month
  reference_year INTEGER, -- v1, v2: year of the monthly values of this newest statement; months of earlier years are in coverage_month
  subscriber_id VARCHAR, -- subscriberId: the MBI of the time
  member_id VARCHAR, -- v3: first identifier: an MBI, or the number that the plan knows the person by
  group_name VARCHAR, -- v1, v2: class group (v1: grouping.subGroup), as sent
  plan_name VARCHAR, -- class plan (v1: grouping.subPlan), as sent: Part A to Part D, or of dual status
  rx_bin VARCHAR, -- v3 Part D: BIN of the card, class rxbin
  rx_pcn VARCHAR, -- v3 Part D: processor control number of the card, class rxpcn
  rx_group VARCHAR, -- v3 Part D: group of the card, class rxgroup
  rx_id VARCHAR, -- v3 Part D: member number of the card, class rxid
  relationship_code VARCHAR, -- Of the person to the subscriber; always self
  payor_name VARCHAR, -- Who pays, as sent
  payor_contacts VARCHAR[], -- v3: telephone numbers and pages of who pays, in the order sent
  is_stub BOOLEAN, -- An id without anything else: not enrolled
  disposed_months DATE[], -- v3: first days of months of the period that were disposed of; NULL for none
  meta_last_updated TIMESTAMP, -- meta.lastUpdated in UTC of the first delivery of this content
  run_id VARCHAR -- First export run that brought this content
);
