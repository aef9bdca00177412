-- One row per Coverage and month: a person, a part of Medicare and a month.
-- Key: api_version, coverage_id, month_start.
-- Source: Coverage extensions such as ptdcntrct01, dual_01, buyin01 (v1, v2); Coverage.period (v3); see coverage_period.
-- A newer Coverage replaces the months of the years that it states (v1, v2), or those from its period's start on (v3); see the traps for what stays.
-- Trap: A month without contract or with contract N is no enrollment in Part C or D.
-- Trap: On v3 a period without end counts up to the month of the newest loaded export of Coverage; of who is not on the newest list, up to the last list with them or the last delivery.
-- Trap: On v3 months before the start of a newer period stay, except those of its year where it begins within the earlier one and says the same: a corrected start.
CREATE TABLE coverage_month (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  coverage_id VARCHAR, -- Coverage resource the month is from
  patient_id VARCHAR, -- Person covered
  part VARCHAR, -- A, B, C, D or DUAL
  month_start DATE, -- First day of the month
  dual_code VARCHAR, -- Dual status of the month
  buyin_code VARCHAR, -- State buy-in of the month
  contract_id VARCHAR, -- Part C or D contract of the month
  pbp_id VARCHAR, -- Plan benefit package of the month
  plan_type VARCHAR, -- Part C plan type
  hmo_code VARCHAR, -- HMO indicator
  segment_id VARCHAR, -- Part D plan segment
  cost_share_code VARCHAR, -- Part D low-income cost share group
  rds_code VARCHAR -- Retiree drug subsidy indicator
);
