-- One row per Coverage and period that some delivery stated, as the newest of those deliveries has it; coverage_month is made of it.
-- Key: api_version, coverage_id, period_start.
-- Source: years of the monthly extensions and of rfrnc_yr (v1, v2); Coverage.period (v3).
-- Trap: A year says that a delivery was about it, not that the person was enrolled in it. A period that ends before it begins is that of a v3 Coverage without one: not enrolled from that month on.
CREATE TABLE coverage_period (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  coverage_id VARCHAR, -- Coverage resource
  patient_id VARCHAR, -- Person covered
  part VARCHAR, -- A, B, C, D or DUAL
  period_start DATE, -- v1, v2: first day of a year; v3: period.start
  period_end DATE, -- v1, v2: last day of the year; v3: period.end; NULL for a period without end
  dual_code VARCHAR, -- v3: dual status of the period
  buyin_code VARCHAR, -- v3: state buy-in of the period
  contract_id VARCHAR, -- v3: Part C or D contract of the period
  pbp_id VARCHAR, -- v3: plan benefit package of the period
  plan_type VARCHAR, -- v3: plan type
  segment_id VARCHAR, -- v3: plan segment
  cost_share_code VARCHAR, -- v3: low-income copayment level of the period
  disposed_months DATE[], -- v3: first days of months of the period that were disposed of; NULL for none
  content_hash VARCHAR, -- SHA-256 of the delivery's content
  meta_last_updated TIMESTAMP, -- meta.lastUpdated of the delivery in UTC
  as_of TIMESTAMP, -- transactionTime of the delivery, UTC
  run_id VARCHAR -- Export run of the delivery
);
